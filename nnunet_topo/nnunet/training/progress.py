"""The picture of the loss's parts, ``progress_topology.png``, beside nnU-Net's own ``progress.png``."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence

from matplotlib.figure import Figure

from nnunet_topo.files import written_at_once


def plot_parts(
    path: str | os.PathLike[str],
    train: Mapping[str, Sequence[float]],
    validation: Mapping[str, Sequence[float]],
    weights: Mapping[str, Sequence[float]],
) -> None:
    """One panel a part: its mean in training and validation, and its weight, epoch by epoch; written at once.

    Args:
        path: where to write the PNG.
        train, validation: per part, one value an epoch; NaN where the part did not count.
        weights: per topology term, its weight in each epoch.
    """
    figure = Figure(figsize=(11, 3.2 * len(train)), layout="constrained")
    for axes, (name, values) in zip(figure.subplots(len(train), 1, squeeze=False)[:, 0], train.items(), strict=True):
        marker = "." if len(values) < 30 else ""
        axes.plot(values, color="tab:blue", marker=marker, label="training")
        axes.plot(validation[name], color="tab:red", marker=marker, label="validation")
        axes.set(title="nnU-Net's own loss" if name == "base" else name, xlabel="epoch", ylabel="mean of the epoch")
        axes.grid(alpha=0.3)
        if name in weights:
            twin = axes.twinx()
            twin.plot(weights[name], color="tab:gray", linestyle=":", label="weight")
            twin.set(ylabel="weight", ylim=(0, 1.1 * max([*weights[name], 1e-9])))
            twin.legend(loc="upper right")
        axes.legend(loc="upper left")
    with written_at_once(path) as temporary:
        figure.savefig(temporary, dpi=80)
