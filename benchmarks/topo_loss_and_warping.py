"""Time of TopoLoss and Warping on TopoMortar's batches, against the procedures that TopoMortar times.

    python benchmarks/topo_loss_and_warping.py [--data FOLDER] [--batch 10] [--repeats 5] [--plain 1] [--threads 2]

FOLDER holds TopoMortar's labels in nnU-Net's raw format (labelsTr/*.png, 0 and 1); without it, brick walls are drawn.
A prediction is a label, blurred, with noise that is added to the logits. TopoMortar trains 12,000 iterations of batches
of 10 whole images of 512 x 512, has the term on in the last 30 % of them, and reports 49.6 h with TopoLoss and 152.1 h
with Warping, of which some 47 s and 150 s an iteration fall to the term (inferred, on the authors' machine). An
iteration here is forward and backward of the term alone, from logits, on the CPU; 3,600 active iterations make as many
hours of a training as an iteration takes seconds.

--plain images (0: none) also go through the same procedures in plain Python, written again: tiles of 50 x 50 through
gudhi, and a loop over wrong pixels that counts components of 3 x 3 pixels, by OpenCV if it is installed, else by
SciPy. As TopoMortar does it, the background channel is the truth, so that nearly all pixels are wrong; "foreground" is
the same loop with the error fixed. Ours and plain run in one process, and are compared by the time of the processor,
of all threads together, which other programs and the number of threads hardly change.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import gudhi
import numpy as np
import SimpleITK
import torch
from scipy import ndimage
from torch import Tensor, nn

from nnunet_topo.homology import betti_numbers
from nnunet_topo.losses import TopoLoss, WarpingLoss

try:
    import cv2
except ImportError:
    cv2 = None

Array = np.ndarray
ACTIVE_ITERATIONS, SIDE = 3600, 512
PUBLISHED = {"TopoLoss": 47.0, "Warping": 150.0}  # seconds an iteration, inferred from 49.6 h and 152.1 h in all


def wall(seed: int) -> Array:
    """Mortar between bricks in running bond, with a jitter in its course and a few gaps."""
    rng = np.random.default_rng(seed)
    waves = ndimage.gaussian_filter(rng.normal(size=(2, SIDE, SIDE)), (0, 20, 20))
    y, x = np.indices((SIDE, SIDE)) + 3 * waves / waves.std()
    row = y // 40
    return (y % 40 < 9) | ((x + 45 * (row % 2)) % 90 < 9)


def photographs(folder: Path | None, count: int) -> Array:
    """(count, 512, 512) bool."""
    if folder is None:
        return np.stack([wall(seed) for seed in range(count)])
    files = sorted((folder / "labelsTr").glob("*.png"))[:count]
    return np.stack([SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(str(file))) == 1 for file in files])


def logits_of(masks: Array, noise: float, seed: int = 0) -> Tensor:
    """(N, 2, 512, 512), softmax channels of background and foreground."""
    rng = np.random.default_rng(seed)
    grain = ndimage.gaussian_filter(rng.normal(size=masks.shape), (0, 2, 2))
    signal = 8 * (ndimage.gaussian_filter(masks.astype(float), (0, 1, 1)) - 0.5) + noise * grain / grain.std()
    return torch.from_numpy(np.stack([-signal / 2, signal / 2], 1)).float()


def iteration(loss: nn.Module, logits: Tensor, target: Tensor) -> tuple[float, float]:
    """Seconds on the clock, and of the processor."""
    logits = logits.clone().requires_grad_()
    clock, processor = time.perf_counter(), time.process_time()
    loss(torch.softmax(logits, 1)[:, 1:], target).backward()
    return time.perf_counter() - clock, time.process_time() - processor


# the published procedures, in plain Python ---------------------------------------------------------------------------


def plain_topo_loss(probabilities: Array, truth: Array, tile: int = 50, threshold: float = 0.03) -> None:
    """Diagrams of both images of every tile, of dimension 0, and a loop over their points that fills two maps."""
    weights, goals = np.zeros(probabilities.shape), np.zeros(probabilities.shape)
    for y in range(0, SIDE, tile):
        for x in range(0, SIDE, tile):
            part, goal = (image[y : y + tile, x : x + tile] for image in (probabilities, truth))
            if goal.min() == 1 or goal.max() == 0:
                continue
            number = len(diagram(goal)[1])
            values, pairs = diagram(part)
            lengths = np.array([values[death] - values[birth] for birth, death in pairs])
            for rank, k in enumerate(np.argsort(-lengths)):
                places = [np.unravel_index(voxel, part.shape) for voxel in pairs[k]]
                for end, (row, column) in enumerate(places):
                    if rank < number and lengths[k] <= 0.99:
                        weights[y + row, x + column], goals[y + row, x + column] = 1, 1 - end
                    elif rank >= number and lengths[k] > threshold:
                        weights[y + row, x + column], goals[y + row, x + column] = 1, part[places[1 - end]]
    prediction = torch.from_numpy(probabilities).requires_grad_()
    ((prediction * torch.from_numpy(weights) - torch.from_numpy(goals)) ** 2).mean().backward()


def diagram(image: Array) -> tuple[Array, Array]:
    values = (1 - image).ravel()
    complex_ = gudhi.CubicalComplex(dimensions=image.shape, top_dimensional_cells=values)
    complex_.persistence(homology_coeff_field=2, min_persistence=0)
    pairs = complex_.cofaces_of_persistence_pairs()[0]
    return values, pairs[0] if len(pairs) else np.empty((0, 2), int)


def plain_warping(probabilities: Array, truth: Array) -> None:
    """Both warps, one pixel after the other."""
    prediction, target = (probabilities > 0.5).astype(np.uint8), truth.astype(np.uint8)
    critical = np.zeros(prediction.shape, bool)
    for source, goal in ((target, prediction), (prediction, target)):
        result = source.copy()
        for value in (1, 0):  # pixels to be removed, then those to be added
            distances = ndimage.distance_transform_edt(source == value) * ((source == value) & (goal != value))
            order = np.argsort(distances, axis=None)[distances.size - np.count_nonzero(distances) :]
            for row, column in np.transpose(np.unravel_index(order, source.shape)):
                around = result[row - 1 : row + 2, column - 1 : column + 2]
                if around.shape == (3, 3) and components(around, 4) == components(1 - around, 8) == 1:
                    result[row, column] = 1 - result[row, column]
        critical |= result != goal
    values = torch.from_numpy(probabilities).requires_grad_()
    right = torch.where(torch.from_numpy(target == 1), values, 1 - values)
    (-1.0 * torch.from_numpy(critical) * torch.log(right + 1e-15)).mean().backward()


def components(around: Array, neighbours: int) -> int:
    if cv2 is not None:
        return cv2.connectedComponents(around, connectivity=neighbours)[0] - 1
    return ndimage.label(around, np.ones((3, 3)) if neighbours == 8 else None)[1]


# ----------------------------------------------------------------------------------------------------------------------


def plain_seconds(function: Callable[[Array, Array], None], probabilities: Array, truth: Array, images: int) -> float:
    """Of the processor for one image, mean over some."""
    start = time.process_time()
    for image, mask in zip(probabilities[:images], truth[:images], strict=True):
        function(image, mask)
    return (time.process_time() - start) / images


def describe(masks: Array, logits: Tensor) -> str:
    predictions = (logits[:, 1] > logits[:, 0]).numpy()
    dice = 2 * (masks & predictions).sum() / (masks.sum() + predictions.sum())
    numbers = [np.mean([betti_numbers(image, "background") for image in side], axis=0).round(1).tolist()
               for side in (masks, predictions)]
    return (f"foreground {masks.mean():.2f}, Dice {dice:.3f}, wrong pixels {(masks ^ predictions).mean():.3f}, "
            f"Betti numbers (4-connected foreground) {numbers[0]}, of the predictions {numbers[1]}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--batch", type=int, default=10)
    parser.add_argument("--noise", type=float, nargs="+", default=[1.5, 3.0], help="standard deviation, in logits")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--plain", type=int, default=1, help="images that go through plain Python as well")
    parser.add_argument("--threads", type=int, help="of ours; one for each core by default")
    arguments = parser.parse_args()
    options = {"threads": arguments.threads}
    losses = {
        "TopoLoss, crops of 256 (default)": TopoLoss(**options),
        "TopoLoss, whole images": TopoLoss(crop_2d=0, **options),
        "TopoLoss, tiles of 50": TopoLoss(crop_2d=50, tiled=True, **options),
        "Warping (default)": WarpingLoss(**options),
        "Warping, 4-connected foreground": WarpingLoss(connectivity="background", **options),
    }
    masks = photographs(arguments.data, arguments.batch)
    target = torch.from_numpy(masks)[:, None]
    for noise in arguments.noise:
        logits = logits_of(masks, noise)
        print(f"\n{len(masks)} images, noise {noise}: {describe(masks, logits)}\n")
        seconds: dict[str, list[tuple[float, float]]] = {name: [] for name in losses}
        for repeat in range(arguments.repeats + 1):
            for name, loss in losses.items():
                spent = iteration(loss, logits, target)
                if repeat > 0:  # the first compiles
                    seconds[name].append(spent)
        probabilities = torch.softmax(logits, 1)[:, 1].double().numpy()
        plain = all_plain(probabilities, masks, arguments.plain) if arguments.plain else {}
        titles = ["", "s an iteration", "hours added (3,600)", "published / ours", "s of the processor"]
        titles += [f"plain, {truth} as truth / ours" for truth in ("background", "foreground")] if plain else []
        print("| " + " | ".join(titles) + " |\n" + "|---" * len(titles) + "|")
        for name, times in seconds.items():
            print(row(name, *map(median, zip(*times, strict=True)), plain, len(masks)), flush=True)
        for (name, truth), value in plain.items():
            print(f"plain {name}, {truth} as truth: {value * len(masks):.1f} s of the processor an iteration, "
                  f"from {arguments.plain} of {len(masks)} images")


def all_plain(probabilities: Array, masks: Array, images: int) -> dict[tuple[str, str], float]:
    return {(name, truth): plain_seconds(function, probabilities, masks ^ (truth == "background"), images)
            for name, function in (("TopoLoss", plain_topo_loss), ("Warping", plain_warping))
            for truth in ("background", "foreground")}


def row(name: str, clock: float, processor: float, plain: dict[tuple[str, str], float], batch: int) -> str:
    kind = "TopoLoss" if name.startswith("TopoLoss") else "Warping"
    cells = [name, f"{clock:.3f}", f"{clock * ACTIVE_ITERATIONS / 3600:.2f}", f"{PUBLISHED[kind] / clock:.0f} x",
             f"{processor:.3f}"]
    if plain:
        cells += [f"{plain[kind, truth] * batch / processor:.0f} x" for truth in ("background", "foreground")]
    return "| " + " | ".join(cells) + " |"


if __name__ == "__main__":
    main()
