"""nnUNetv2_topo_find_postprocessing --report: the page with the gains, and pictures of what was changed."""

from __future__ import annotations

import base64
import io
import re

import numpy as np
import pytest
from browser import browser
from matplotlib.colors import to_rgb
from skimage.io import imread
from test_apply_postprocessing import contents
from test_find_postprocessing import cases, damaged, grid_of_bars, refused

from nnunet_topo.commands import postprocessing_report
from nnunet_topo.commands.find_postprocessing import main
from nnunet_topo.report import postprocessing_figure
from nnunet_topo.report.errors_figure import ADDED, REMOVED


def shown(picture: np.ndarray, colour: str) -> int:
    return int((np.abs(picture[..., :3] - 255 * np.array(to_rgb(colour))) < 1.5).all(-1).sum())


@pytest.mark.parametrize("shape", [(30, 60), (9, 30, 60)], ids=["2d", "3d"])
def test_what_was_added_and_removed_has_its_colour(shape, tmp_path):
    reference = np.zeros(shape, bool)
    reference[..., 12:18, 5:55] = True
    before = reference.copy()
    before[..., 30:33] = False
    before[..., 3:6, 40:44] = True
    bridged, dropped = before.copy(), before.copy()
    bridged[..., 14, 30:33] = True
    dropped[..., :10, :] = False
    legend = None
    for after, added, removed in ((before, False, False), (bridged, True, False), (dropped, False, True)):
        postprocessing_figure(before, after, reference, tmp_path / "figure.png", spacing=(1.0,) * len(shape))
        picture = imread(tmp_path / "figure.png").astype(float)
        counts = np.array([shown(picture, colour) for colour in (ADDED, REMOVED)])
        legend = counts if legend is None else legend
        assert ((counts > legend + 20) == (added, removed)).all()


def test_the_page_has_the_gains_and_pictures_of_the_worst_images(tmp_path, capsys):
    arguments = [*cases(tmp_path), "--report", "--pictures", "2"]
    assert main(arguments) == 0
    printed = capsys.readouterr().out
    assert f"{tmp_path / 'pp.json'} and {tmp_path / 'pp.html'}" in printed
    text = (tmp_path / "pp.html").read_text()
    words = re.search(r"vessel: (.*)", printed)[1]
    assert words[0].upper() + words[1:].replace("<", "&lt;") in text
    for title, *numbers in re.findall(r"\| (predicted|post-processed|leave-one-out) \| ([\d.]+) \| .* \| ([\d.]+) \| ",
                                      printed):
        row = re.search(rf'<td class="text">{title}</td>(.*)</tr>', text)[1]
        assert all(f"<td>{number}</td>" in row for number in numbers)
    scores = dict(re.findall(r"\| (case_\d) \| (\d+) \|", printed))
    worst = [int(error) for error in re.findall(r"<h3>case_\d: error (\d+)", text)]
    assert worst == sorted(map(int, scores.values()), reverse=True)[:2]
    pictures = re.findall(r"data:image/png;base64,([^\"]+)", text)
    assert len(pictures) == 2
    for picture in pictures:
        pixels = imread(io.BytesIO(base64.b64decode(picture))).astype(float)
        assert shown(pixels, ADDED) > 0 and shown(pixels, REMOVED) > 0
    assert not [name for name in contents(tmp_path) if ".unfinished" in name or name.endswith(".png")]


def test_images_in_which_nothing_changes_have_no_picture(tmp_path):
    def spoilt(reference, seed):
        if seed < 3:
            return damaged(reference, seed)
        likely = np.where(reference > 0, 0.9, 0.02).astype(np.float32)
        return np.stack([1 - likely, likely])

    assert main([*cases(tmp_path, spoil=spoilt), "--report"]) == 0
    text = (tmp_path / "pp.html").read_text()
    assert sorted(re.findall(r"<h3>(case_\d)", text)) == ["case_0", "case_1", "case_2"]


def test_what_cannot_be_drawn_is_named_and_the_rest_is_written(tmp_path, capsys, monkeypatch):
    def draw(before, after, reference, path, *, spacing):
        if "case_1" in path.name:
            raise ValueError("no <room> for it")
        postprocessing_figure(before, after, reference, path, spacing=spacing)

    monkeypatch.setattr(postprocessing_report, "postprocessing_figure", draw)
    assert main([*cases(tmp_path), "--report"]) == 1
    assert "case_1 could not be drawn: no <room> for it" in capsys.readouterr().err
    text = (tmp_path / "pp.html").read_text()
    assert "case_1: no &lt;room&gt; for it" in text and len(re.findall("<h3>", text)) == 3
    assert (tmp_path / "pp.json").is_file()


def test_interrupted_while_drawing_it_has_written_nothing(tmp_path, monkeypatch):
    def stop(*_, **__):
        raise KeyboardInterrupt

    arguments = cases(tmp_path)
    before = contents(tmp_path)
    monkeypatch.setattr(postprocessing_report, "postprocessing_figure", stop)
    assert main([*arguments, "--report"]) == 130
    assert contents(tmp_path) == before


def test_a_page_that_would_be_written_over_the_settings_is_refused(tmp_path, capsys):
    arguments = [*cases(tmp_path, 1), "-o", str(tmp_path / "pp.html"), "--report"]
    assert "Give -o another ending" in refused(arguments, tmp_path, capsys)


def test_a_browser_draws_the_page_and_asks_for_nothing(tmp_path):
    assert grid_of_bars().any() and main([*cases(tmp_path, 2), "--report"]) == 0
    with browser(tmp_path / "profile") as chrome:
        chrome.get((tmp_path / "pp.html").as_uri())
        assert not [entry for entry in chrome.get_log("browser") if entry["level"] == "SEVERE"]
        sizes = chrome.execute_script("return [...document.images].map(image => image.naturalWidth)")
        assert len(sizes) == 2 and min(sizes) > 500
        asked = chrome.execute_script("return performance.getEntriesByType('resource').map(entry => entry.name)")
        assert not [name for name in asked if not name.startswith("data:")]
        assert chrome.execute_script("return document.documentElement.scrollWidth - window.innerWidth") <= 0
