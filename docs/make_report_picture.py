"""Write docs/report.png and docs/report_demo.png: what the report of an evaluation looks like, in a headless Chromium.

    nnUNetv2_topo_demo --output demo --epochs 8         # prints the commands that write its reports
    python docs/make_report_picture.py demo/report_3d/report.html docs/report_demo.png --number 2

    python benchmarks/topomortar.py --data TOPOMORTAR --output out --epochs 4 --iterations 50
    MODEL=out/nnUNet_results/Dataset501_TopoMortarSmall/nnUNetTrainer__nnUNetTopoSmallPlans__2d
    nnUNetv2_topo_evaluate TOPOMORTAR/labelsTs out/predictions/nnUNetTrainerClDice -djfile $MODEL/dataset.json \\
        -pfile $MODEL/plans.json -o out/report --report --compare out/predictions/nnUNetTrainer \\
        -images TOPOMORTAR/imagesTs
    python docs/make_report_picture.py out/report/report.html docs/report.png --cases TM_131 TM_082 --number 2

and docs/study.png, the report of docs/studies/topomortar_small_cpu.yaml:

    python docs/make_report_picture.py topomortar_small_cpu/report.html docs/study.png --study

Needs the packages chromium and chromium-driver, and selenium. The left column shows the top of the page, the right one
the table of cases and some cases with their pictures; of a study, each column shows a group of test images.
"""

from __future__ import annotations

import argparse
import base64
import io
import shutil
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from PIL import Image
from selenium import webdriver

from nnunet_topo.files import written_at_once

# which elements stand in the left column and which in the right one: selector, and the number among those it selects
Columns = Sequence[Sequence[tuple[str, int]]]
STUDY: Columns = ([("header.top", 0), ("#legend", 0), ("article.group", 0)], [("#costs-1", 0), ("article.group", 1)])
WIDTH, GAP, SPACE = 1400, 24, 18  # pixels of a column, between columns and between parts
PREPARED = """
document.querySelector('nav').style.display = 'none';
for (const part of document.querySelectorAll('#table .scroll')) part.style.maxHeight = '420px';
for (const part of document.querySelectorAll('.case'))
    if (arguments[0].length && !arguments[0].includes(part.querySelector('h3').textContent)) part.remove();
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("page", type=Path)
    parser.add_argument("picture", type=Path)
    parser.add_argument("--cases", nargs="+", default=[], help="whose pictures to show instead of the worst ones")
    parser.add_argument("--study", action="store_true", help="the page is the report of a study")
    parser.add_argument("--number", type=int, default=1, help="of cases shown")
    options = parser.parse_args()
    evaluation = ([(part, 0) for part in ("header.top", "#glance", "#comparison", "#distributions")],
                  [("#table", 0), *(("article.case", number) for number in range(options.number))])
    draw(options.page.resolve(), options.picture, options.cases, STUDY if options.study else evaluation)


def draw(page: Path, picture: Path, cases: list[str], parts_of_columns: Columns) -> None:
    """Photograph the parts of a report and put them into two columns of a PNG with a palette."""
    with TemporaryDirectory() as profile:
        chrome = start(Path(profile))
        try:
            chrome.get(page.as_uri())
            chrome.execute_script(PREPARED, cases)
            columns = [[photograph(chrome, *part) for part in parts] for parts in parts_of_columns]
        finally:
            chrome.quit()
    height = max(sum(part.height + SPACE for part in parts) for parts in columns)
    sheet = Image.new("RGB", (2 * WIDTH + GAP, height), "white")
    for number, parts in enumerate(columns):
        top = 0
        for part in parts:
            sheet.paste(part, (number * (WIDTH + GAP), top))
            top += part.height + SPACE
    small = sheet.resize((1600, round(sheet.height * 1600 / sheet.width)), Image.Resampling.LANCZOS)
    few_colours = small.quantize(240, Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE)
    with written_at_once(picture) as temporary:
        few_colours.save(temporary, format="PNG", optimize=True)


def start(profile: Path) -> Any:
    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium") or shutil.which("chromium-browser") or ""
    for flag in ("headless", "no-sandbox", "disable-gpu", "disable-quic", "no-first-run", "hide-scrollbars",
                 "disable-background-networking", "disable-component-update", "disable-sync",
                 f"window-size={WIDTH},1000", f"user-data-dir={profile}"):
        options.add_argument(f"--{flag}")
    return webdriver.Chrome(options=options, service=webdriver.ChromeService(shutil.which("chromedriver")))


def photograph(chrome: Any, selector: str, number: int) -> Image.Image:
    """One part of the page, however long."""
    box = chrome.execute_script(
        "const box = document.querySelectorAll(arguments[0])[arguments[1]].getBoundingClientRect();"
        "return [box.top + window.scrollY, box.height]", selector, number)
    clip = {"x": 0, "y": box[0], "width": WIDTH, "height": box[1], "scale": 1}
    shot = chrome.execute_cdp_cmd("Page.captureScreenshot", {"clip": clip, "captureBeyondViewport": True})
    return Image.open(io.BytesIO(base64.b64decode(shot["data"]))).convert("RGB")


if __name__ == "__main__":
    main()
