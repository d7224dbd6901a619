"""The report: what stands in it, and that a browser renders, sorts, filters and links it without any network."""

from __future__ import annotations

import json
import math
import os
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from browser import browser
from skimage.io import imread, imsave

from nnunet_topo.commands.evaluate import main
from nnunet_topo.metrics.collection import all_metrics
from nnunet_topo.metrics.definitions import DEFINITIONS
from nnunet_topo.nnunet.evaluation.summary import summarise
from nnunet_topo.report.case_pictures import case_picture
from nnunet_topo.report.comparison import require_same_connectivity
from nnunet_topo.report.evaluation_page import write_evaluation_page

EVIL = "<img src=x onerror=alert(1)> & \"quotes\""
SETTINGS = {"version": "0.1.0", "labels_or_regions": ["1", "(1, 2)"], "ignore_label": None, "known_labels": None,
            "tolerances_mm": [1.0, 2.0], "label_names": {"1": "vessel", "(1, 2)": EVIL}, "file_ending": ".png",
            "reader": "NaturalImage2DIO"}


def masks_of(case: int) -> tuple[np.ndarray, np.ndarray]:
    """A bar, cut as often as the case's number says; without prediction in case 4 and without both in case 5."""
    reference = np.zeros((20, 60), bool)
    reference[8:13, 4:56] = True
    prediction = reference.copy()
    for cut in range(case):
        prediction[:, 10 + 9 * cut] = False
    return (prediction & (case < 4)), (reference & (case < 5))


def summary(shift: int = 0, cases: int = 6) -> dict:
    """Cases 0, 1, ... with more errors by ``shift``."""
    entries = []
    for case in range(cases):
        prediction, reference = masks_of(case)
        more, _ = masks_of(min(case + shift, 3) if case < 4 else case)
        entries.append({"case": EVIL if case == 1 else f"case_{case}", "spacing": [1.0, 0.5],
                        "reference_file": "/data/labels/a.png", "prediction_file": "/data/predictions/a.png",
                        "metrics": {"1": all_metrics(prediction, reference, (1.0, 0.5)),
                                    "(1, 2)": all_metrics(more, reference, (1.0, 0.5))}})
    return summarise(entries, SETTINGS) | {"failed": {"bad_case": EVIL}, "missing_predictions": ["absent.png"]}


@pytest.fixture(scope="module")
def picture(tmp_path_factory) -> Path:
    file = tmp_path_factory.mktemp("pictures") / "a.png"
    case_picture(*masks_of(2), file, spacing=(1.0, 0.5))
    return file


@pytest.fixture(scope="module")
def page(tmp_path_factory, picture) -> Path:
    """Two folders, six cases, two labels, pictures of one case."""
    file = tmp_path_factory.mktemp("report") / "report.html"
    pictures = {name: {"case_3": {"1": picture, "(1, 2)": picture}} for name in ("ours", EVIL)}
    write_evaluation_page(file, {"ours": summary(), EVIL: summary(1)}, pictures, {"case_2 (ours)": EVIL})
    return file


class Elements(HTMLParser):
    """Counts tags, and collects ids, links and sources."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.ids: list[str] = []
        self.links: list[str] = []
        self.sources: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        named = dict(attributes)
        self.ids += [named["id"]] if "id" in named else []
        self.links += [named["href"]] if "href" in named else []
        self.sources += [named["src"]] if "src" in named else []
        assert not any(name.startswith("on") for name in named)


def test_all_that_the_page_shows_is_in_it_and_links_lead_into_it(page):
    text = page.read_text(encoding="utf-8")
    found = Elements(text)
    assert len(found.sources) == 4 and all(source.startswith("data:image/png;base64,") for source in found.sources)
    assert len(set(found.ids)) == len(found.ids)
    assert {link[1:] for link in found.links if link != "data:,"} <= set(found.ids)
    assert not re.search(r"https?://|url\(|@import", text)


def test_names_are_text_and_never_markup(page):
    found = Elements(page.read_text(encoding="utf-8"))
    assert found.tags.count("img") == 4 and found.tags.count("script") == 1


def test_what_is_not_in_the_numbers_is_said(page):
    text = page.read_text(encoding="utf-8")
    assert "bad_case could not be evaluated" in text and "No prediction of absent.png" in text
    assert "case_2 (ours): &lt;img" in text and "Of 1 of the 6 cases, the worst ones" in text


def test_definitions_of_all_metrics_and_the_connectivity_stand_in_it(page):
    text = page.read_text(encoding="utf-8")
    assert all(definition.definition.replace("'", "&#39;") in text for definition in DEFINITIONS)
    assert "Betti numbers, components in 2D: foreground 8, background 4." in text


def test_a_page_of_one_case_without_pictures_is_written(tmp_path):
    write_evaluation_page(tmp_path / "a.html", {"ours": summary(cases=1)})
    text = (tmp_path / "a.html").read_text(encoding="utf-8")
    assert "1 case," in text and "comparison" not in Elements(text).ids and "No picture was drawn." in text


def test_a_page_that_cannot_be_finished_is_not_written(tmp_path):
    absent = {"ours": {"case_3": {"1": tmp_path / "absent.png"}}}
    with pytest.raises(OSError, match=r"absent\.png"):
        write_evaluation_page(tmp_path / "a.html", {"ours": summary()}, absent)
    assert not list(tmp_path.iterdir())


def test_summaries_of_other_settings_are_refused(tmp_path):
    other = summary()
    other["settings"] = {**other["settings"], "tolerances_mm": [3.0]}
    with pytest.raises(ValueError, match=r"other was evaluated with tolerances_mm \[3.0\], the first folder with"):
        write_evaluation_page(tmp_path / "a.html", {"ours": summary(), "other": other})
    with pytest.raises(ValueError, match="at least one evaluated folder"):
        write_evaluation_page(tmp_path / "a.html", {})


@pytest.fixture(scope="module")
def chrome(page, tmp_path_factory):
    with browser(tmp_path_factory.mktemp("profile")) as driver:
        driver.get(page.as_uri())
        yield driver


def column(chrome, number: int, attribute: str = "textContent") -> list[str]:
    return chrome.execute_script(
        "return [...document.querySelectorAll('#case-table tbody tr')].filter(row => !row.hidden)"
        f".map(row => row.cells[{number}].{attribute})")


def heads(chrome) -> list[str]:
    return chrome.execute_script("return [...document.querySelectorAll('#case-table thead button')]"
                                 ".map(button => button.textContent)")


def click(chrome, selector: str, number: int = 0) -> None:
    chrome.execute_script("document.querySelectorAll(arguments[0])[arguments[1]].click()", selector, number)


def test_browser_renders_it_without_errors_and_asks_for_nothing_else(chrome, page):
    assert chrome.title == "Topology report: ours"
    assert [entry for entry in chrome.get_log("browser")] == []
    requested = [json.loads(entry["message"])["message"] for entry in chrome.get_log("performance")]
    urls = {message["params"]["request"]["url"] for message in requested
            if message["method"] == "Network.requestWillBeSent"
            and message["params"]["documentURL"] == page.as_uri()}
    assert page.as_uri() in urls and all(url == page.as_uri() or url.startswith("data:") for url in urls)
    sizes = chrome.execute_script("return [...document.images].map(image => image.naturalWidth)")
    assert len(sizes) == 4 and min(sizes) > 500
    assert chrome.execute_script("return document.querySelectorAll('svg circle').length") > 100
    assert chrome.execute_script("return document.documentElement.scrollWidth <= window.innerWidth")


@pytest.mark.parametrize("metric", ["Dice", "HD95", "Betti matching error", "clDice"])
def test_a_click_sorts_numbers_as_numbers_and_what_is_not_finite_last(chrome, metric):
    number = heads(chrome).index(metric)
    for direction in ("ascending", "descending"):
        click(chrome, "#case-table thead button", number)
        texts = column(chrome, number, "dataset.v")
        values = [float(text.replace("Infinity", "inf")) if text else math.nan for text in texts]
        finite = [value for value in values if math.isfinite(value)]
        assert finite == sorted(finite, reverse=direction == "descending") and len(set(finite)) > 1
        rest = values[len(finite) :]
        assert not any(map(math.isfinite, rest))
        infinite = [math.isinf(value) for value in rest]
        assert infinite == sorted(infinite, reverse=True)
        assert chrome.execute_script("return document.querySelectorAll('#case-table th')[arguments[0]].ariaSort",
                                     number) == direction
    if metric == "HD95":
        assert "∞" in column(chrome, number) and "–" in column(chrome, number)


def test_a_click_sorts_names_as_text(chrome):
    click(chrome, "#case-table thead button", 0)
    names = column(chrome, 0)
    assert [name for name in names if name.startswith("case")] == sorted(name for name in names if "case_" in name)
    assert EVIL in names


def test_the_table_is_searched_filtered_and_shows_all_metrics_on_demand(chrome):
    rows = len(column(chrome, 0))
    assert rows == 6 * 2 * 2
    chrome.find_element("id", "search").send_keys("CASE_2")
    assert set(column(chrome, 0)) == {"case_2"} and len(column(chrome, 0)) == 4
    chrome.find_element("css selector", "#label option:nth-child(2)").click()
    chrome.find_element("css selector", "#folder option:nth-child(3)").click()
    assert column(chrome, 1) == [EVIL] and column(chrome, 2) == ["vessel (1)"]
    chrome.execute_script("for (const id of ['search', 'label', 'folder']) { const control = "
                          "document.getElementById(id); control.value = ''; for (const kind of ['input', 'change']) "
                          "control.dispatchEvent(new Event(kind)) }")
    assert len(column(chrome, 0)) == rows
    iou = heads(chrome).index("IoU")
    shown = "return document.querySelectorAll('#case-table th')[arguments[0]].offsetWidth > 0"
    assert not chrome.execute_script(shown, iou)
    click(chrome, "#more")
    assert chrome.execute_script(shown, iou)


def test_links_lead_from_the_table_and_the_distributions_to_the_case_and_back(chrome):
    from selenium.webdriver.support.ui import WebDriverWait  # only where the browser's fixture found selenium

    def require_in_sight(target: str) -> None:
        top = "return document.getElementById(arguments[0]).getBoundingClientRect().top"
        WebDriverWait(chrome, 5).until(lambda driver: 0 <= driver.execute_script(top, target) < 400)

    link = chrome.find_element("link text", "case_3")
    target = link.get_attribute("href").partition("#")[2]
    chrome.execute_script("arguments[0].click()", link)
    assert chrome.find_element("css selector", "article:target h3").text == "case_3"
    require_in_sight(target)
    chrome.execute_script("document.querySelector('article:target header a').click()")
    require_in_sight("table")
    chrome.execute_script("document.querySelector(`svg a[href='#${arguments[0]}']`)"
                          ".dispatchEvent(new MouseEvent('click', {bubbles: true}))", target)
    assert chrome.find_element("css selector", "article:target h3").text == "case_3"
    require_in_sight(target)


def test_a_click_enlarges_a_picture(chrome):
    width = "return document.querySelector('.pictures img').offsetWidth"
    before = chrome.execute_script(width)
    click(chrome, ".pictures img")
    assert chrome.execute_script(width) > 1.5 * before


# --- The command ---


@pytest.fixture
def folders(tmp_path) -> tuple[Path, Path, Path]:
    for case in range(4):
        prediction, reference = masks_of(case)
        for name, mask in (("true", reference), ("ours", prediction), ("theirs", masks_of(min(case + 1, 3))[0])):
            (tmp_path / name).mkdir(exist_ok=True)
            imsave(str(tmp_path / name / f"case_{case}.png"), mask.astype(np.uint8), check_contrast=False)
    return tmp_path / "true", tmp_path / "ours", tmp_path / "theirs"


def command(folders, *arguments: str) -> int:
    return main([str(folders[0]), str(folders[1]), "-np", "0", *arguments])


def test_command_writes_the_report_with_pictures_of_the_worst_cases(folders, tmp_path, capsys):
    output = tmp_path / "out"
    assert command(folders, "-l", "1", "-o", str(output), "--report", "--pictures", "2") == 0
    assert f"Written: {output / 'report.html'}" in capsys.readouterr().out
    text = (output / "report.html").read_text(encoding="utf-8")
    assert Elements(text).tags.count("img") == 2
    drawn = sorted(file.name for file in (output / "nnunet_topo_pictures").glob("*.png"))
    assert drawn == ["case_2__1.png", "case_3__1.png"]


def test_command_compares_folders_whose_summaries_lie_by_themselves(folders, tmp_path):
    images = tmp_path / "images"
    images.mkdir()
    for case in range(4):
        imsave(str(images / f"case_{case}_0000.png"), np.full((20, 60), 40 * case, np.uint8), check_contrast=False)
    output = tmp_path / "out"
    assert command(folders, "-l", "1", "-o", str(output), "--report", "--compare", f"baseline={folders[2]}",
                   "-images", str(images)) == 0
    text = (output / "report.html").read_text(encoding="utf-8")
    assert {"comparison"} <= set(Elements(text).ids) and "baseline" in text
    assert (output / "baseline" / "summary_topology.json").exists()
    assert not (folders[2] / "summary_topology.json").exists()
    assert command(folders, "-l", "1", "--report", "--compare", str(folders[2])) == 0
    assert (folders[2] / "summary_topology.json").exists() and (folders[1] / "report.html").exists()


def test_pictures_are_drawn_again_only_where_a_file_changed(folders, tmp_path):
    arguments = ("-l", "1", "-o", str(tmp_path / "out"), "--report")
    assert command(folders, *arguments) == 0
    times = {file: file.stat().st_mtime_ns for file in (tmp_path / "out" / "nnunet_topo_pictures").glob("*.png")}
    os.replace(folders[1] / "case_3.png", folders[1] / "case_2.png")
    os.link(folders[1] / "case_1.png", folders[1] / "case_3.png")
    assert command(folders, *arguments) == 0
    changed = {file.name for file, time in times.items() if file.stat().st_mtime_ns != time}
    assert changed == {"case_2__1.png", "case_3__1.png"}


def test_pictures_that_cannot_be_drawn_are_named_and_the_report_is_there(folders, tmp_path, capsys):
    (tmp_path / "images").mkdir()
    for case in range(4):
        shape = (20, 61) if case == 2 else (20, 60)
        imsave(str(tmp_path / "images" / f"case_{case}_0000.png"), np.zeros(shape, np.uint8), check_contrast=False)
    assert command(folders, "-l", "1", "--report", "-images", str(tmp_path / "images")) == 1
    error = capsys.readouterr().err
    assert "pictures of 1 case(s)" in error and "case_2 (ours): The image has the shape (20, 61)" in error
    assert "case_2 (ours)" in (folders[1] / "report.html").read_text(encoding="utf-8")
    (tmp_path / "images" / "case_0_0000.png").unlink()
    assert command(folders, "-l", "1", "--report", "-images", str(tmp_path / "images")) == 1
    assert "holds no image case_0_0000" in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [["--compare", "a"], ["-images", "a"], ["--pictures", "3"],
                                       ["--report", "--pictures", "-1"]])
def test_flags_of_the_report_without_it_are_an_error_of_use(folders, arguments, capsys):
    with pytest.raises(SystemExit) as stop:
        command(folders, "-l", "1", *arguments)
    assert stop.value.code == 2 and "error:" in capsys.readouterr().err


def test_folders_of_one_name_are_refused(folders, capsys):
    same = f"ours={folders[2]}"
    assert command(folders, "-l", "1", "--report", "--compare", same, "-o", str(folders[0].parent / "out")) == 1
    assert "Several prediction folders have the name 'ours'" in capsys.readouterr().err


def test_small_pictures_are_readable(picture):
    assert imread(picture).shape[1] > 500 and picture.stat().st_size < 60_000


def test_summaries_of_different_connectivities_are_not_compared():
    summaries = {name: {"settings": {"connectivity": {"3D": {"Betti matching": pair}}}}
                 for name, pair in (("a", "foreground 26, background 6"), ("b", "foreground 6, background 26"))}
    require_same_connectivity({"a": summaries["a"], "c": summaries["a"]})
    with pytest.raises(ValueError, match=r"Betti matching of b were taken with foreground 6, background 26, of a with "
                                         r"foreground 26.* are not compared"):
        require_same_connectivity(summaries)
