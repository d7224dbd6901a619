"""The loss of critical components against reference values, and by hand."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from nnunet_topo.losses import CriticalComponentsLoss

GOLDEN = Path(__file__).parent / "golden" / "regions"
WEIGHTS = {"2d": (0.5, 0.5), "2d_rough": (0.5, 0.5), "2d_weights": (0.7, 0.2), "3d_weights": (0.3, 0.8)}


def totals(name: str, loss: CriticalComponentsLoss) -> tuple[torch.Tensor, torch.Tensor, np.lib.npyio.NpzFile]:
    """The authors' whole loss, in which ours is one part, and its gradient."""
    data = np.load(GOLDEN / f"supervoxel_{name}.npz")
    logits, target = torch.from_numpy(data["logits"]).requires_grad_(), torch.from_numpy(data["target"]).float()
    alpha = WEIGHTS[name][0]
    cross_entropy = F.binary_cross_entropy_with_logits(logits, target)
    total = (1 - alpha) * cross_entropy + alpha * loss(torch.sigmoid(logits), target)
    total.backward()
    return total.detach(), logits.grad, data


@pytest.mark.parametrize("name", WEIGHTS)
def test_with_one_connectivity_the_value_is_the_authors(name):
    loss = CriticalComponentsLoss(normalised=False, beta=WEIGHTS[name][1])
    total, gradient, data = totals(name, loss)
    assert total.item() == pytest.approx(float(data["loss_full"]), rel=1e-5)
    # where the authors' two connectivities find the same critical voxels, their gradient is ours
    same = (data["critical_fn"] == data["critical_fn_full"]) & (data["critical_fp"] == data["critical_fp_full"])
    assert 0.8 < same.mean() < 1
    np.testing.assert_allclose(gradient.numpy()[:, 0][same], data["grad_logits"][:, 0][same], atol=1e-6)
    assert np.abs(gradient.numpy() - data["grad_logits"])[:, 0][~same].min() > 1e-6


def test_the_reference_is_the_authors_default():
    total, _, data = totals("2d", CriticalComponentsLoss.reference())
    assert total.item() == pytest.approx(float(data["loss_full"]), rel=1e-5)


def test_counts_by_hand():
    target = torch.zeros(1, 1, 5, 12, dtype=torch.bool)
    target[..., 1:3, :] = True
    prediction = target.clone()
    prediction[..., 5:7] = False  # a cut, of four voxels
    prediction[..., 4, 8] = True  # a speck
    prediction[..., 3, 1] = True  # and a bump, which does no harm
    probabilities = torch.where(prediction, 0.9, 0.2)
    costs = 0.3 * 4 * -math.log(0.2) + 0.7 * -math.log(0.1)
    size = ((1 + 5) * (1 + 24 + 22)) ** 0.5
    assert CriticalComponentsLoss(beta=0.3)(probabilities, target).item() == pytest.approx(costs / size, rel=1e-5)
    plain = CriticalComponentsLoss(beta=0.3, normalised=False)
    assert plain(probabilities, target).item() == pytest.approx(costs / 60, rel=1e-5)


def test_gradient_norm_is_of_the_order_of_dices():
    target = torch.zeros(48, 48, dtype=torch.bool)
    target[8:12], target[20:24] = True, True
    noise = torch.randn(48, 48, generator=torch.Generator().manual_seed(0))
    logits = (2 * target - 1 + 0.7 * noise)[None, None].requires_grad_()
    probabilities = torch.sigmoid(logits)
    dice = 1 - 2 * (probabilities * target).sum() / (probabilities.sum() + target.sum())
    norms = [torch.autograd.grad(loss, logits, retain_graph=True)[0].norm().item()
             for loss in (dice, CriticalComponentsLoss()(probabilities, target[None, None]))]
    assert 0.1 < norms[1] / norms[0] < 10


def test_without_a_critical_voxel_the_zero_stays_in_the_graph():
    target = torch.zeros(1, 1, 9, 9, dtype=torch.bool)
    target[..., 3:6, 3:6] = True
    probabilities = torch.where(target.roll(1, -1), 0.8, 0.2).requires_grad_()
    value = CriticalComponentsLoss()(probabilities, target)
    value.backward()
    assert value.item() == 0 and (probabilities.grad == 0).all()


def test_wrong_input_gets_a_sentence():
    with pytest.raises(ValueError, match=r"beta must be from 0 to 1, got 1\.5"):
        CriticalComponentsLoss(beta=1.5)
    with pytest.raises(ValueError, match="Critical components needs a target of the probabilities' shape"):
        CriticalComponentsLoss()(torch.zeros(1, 2, 4, 4), torch.zeros(1, 1, 4, 4))
