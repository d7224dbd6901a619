"""The page of a study: what stands in it, and that a browser draws it without any network."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from browser import browser
from test_study_results import GROUPS, run, summary

from nnunet_topo.report.scatter_plot import scatter_plot
from nnunet_topo.report.strip_plot import strip_plot
from nnunet_topo.study.comparison import compare_section
from nnunet_topo.study.page import short_name, write_study_page
from nnunet_topo.study.settings import Study

EVIL = "<img src=x onerror=alert(1)>"
TRAINERS = ("nnUNetTrainer", "nnUNetTrainerClDice")


@pytest.fixture(scope="module")
def page(tmp_path_factory) -> Path:
    study = Study(Path("out") / EVIL, [1], TRAINERS, seeds=(0, 1))
    summaries = {run(trainer, seed): summary(place + seed / 2) for place, trainer in enumerate(TRAINERS)
                 for seed in (0, 1)}
    for case in summaries[run(TRAINERS[1], 1)]["metric_per_case"][:1]:
        case["metrics"]["1"]["betti_error_sum"] = math.inf
    records = {key: {"training_seconds": 100.0 if key.trainer == TRAINERS[0] else 125.0, "memory_gb": 2.0}
               for key in summaries}
    file = tmp_path_factory.mktemp("page") / "report.html"
    write_study_page(file, study, [compare_section(TRAINERS[0], summaries, GROUPS, records)], done=4,
                     missing=[f"Dataset001_A__{EVIL}"])
    return file


def test_a_page_says_what_was_compared_what_is_missing_and_escapes_names(page):
    text = page.read_text()
    assert "4 of 5 runs are finished" in text and "Fewer than three trainings" in text
    assert EVIL not in text and "&lt;img src=x" in text
    assert "far (3 images)" in text and "near (3 images)" in text
    assert "no test: infinite in 1 image" in text  # the near group's first image has a run without a finite value
    assert "<td>100</td><td>1.00</td>" in text and "<td>125</td><td>1.25</td>" in text
    assert not list(page.parent.glob(".*"))


def test_a_browser_draws_the_page_and_asks_for_nothing(page, tmp_path):
    with browser(tmp_path) as chrome:
        chrome.get(page.as_uri())
        assert not [entry for entry in chrome.get_log("browser") if entry["level"] == "SEVERE"]
        count = "return document.querySelectorAll(arguments[0]).length"
        # of each of two groups: errors against Dice, gain against cost, and differences of two metrics
        assert chrome.execute_script(count, "svg") == 2 * 4
        assert chrome.execute_script(count, "circle.mean") == 2 * 2 * 2 - 1  # no gain where a value is infinite
        asked = chrome.execute_script("return performance.getEntriesByType('resource').map(entry => entry.name)")
        assert asked == []
        wide = chrome.execute_script("return document.documentElement.scrollWidth - window.innerWidth")
        assert wide <= 0


def test_a_scatter_plot_places_runs_and_their_means_between_its_ticks():
    plot = scatter_plot([("a", "red", [(0.0, 10.0, "one"), (1.0, 20.0, "two"), (math.nan, 3.0, "none")]),
                         ("b", "blue", [(0.5, math.inf, "infinite")])])
    first, second = plot.marks
    assert [(dot.x, dot.y, dot.text) for dot in first.dots] == [
        (plot.left, plot.bottom, "one"), (plot.right, plot.top, "two")]
    assert (first.mean.x, first.mean.y) == ((plot.left + plot.right) / 2, (plot.top + plot.bottom) / 2)
    assert second.dots == [] and second.mean is None
    assert plot.across[0] == (plot.left, "0") and plot.up[-1] == (plot.top, "20")
    assert scatter_plot([("a", "red", [(math.nan, 1.0, "")])]) is None
    same = scatter_plot([("a", "red", [(2.0, 2.0, "")])])
    assert same.left < same.marks[0].mean.x < same.right


def test_a_strip_plot_of_differences_shows_where_zero_is():
    plot = strip_plot([("a", "red", [(-3.0, "", "x"), (-1.0, "", "y")])], share=False)
    assert plot.ticks[-1][1] == "0" and plot.zero is None  # at the edge, where a line is anyway
    both = strip_plot([("a", "red", [(-1.0, "", "x"), (1.0, "", "y")])], share=False)
    assert both.zero == dict((text, x) for x, text in both.ticks)["0"]


def test_nnunets_own_trainer_keeps_its_name_in_drawings():
    assert [short_name(name) for name in TRAINERS] == ["nnUNetTrainer", "ClDice"]
