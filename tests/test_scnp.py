"""SCNP against the authors' results, against its definition written out, and what it promises as a transform."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
import torch

from nnunet_topo.losses import SCNPLoss, scnp_logits

GOLDEN = Path(__file__).parent / "golden"
FILES = sorted(file.name for file in GOLDEN.glob("scnp_*.npz"))
SPACES = [(9, 11), (6, 5, 7), (1, 8, 9), (2, 3, 1)]


def one_hot(labels: torch.Tensor, channels: int) -> torch.Tensor:
    return torch.cat([labels == channel for channel in range(channels)], 1)


def golden(file: str):
    data = np.load(GOLDEN / file)
    logits = torch.from_numpy(data["logits"])
    return data, logits, one_hot(torch.from_numpy(data["target"].astype(np.int64)), logits.shape[1])


def authors_ce_and_dice(logits, target):
    q = logits.softmax(1)
    space = tuple(range(2, q.ndim))
    cross_entropy = -(target * (q + 1e-15).log()).mean([0, *space]).sum()
    dice = (2 * (q * target).sum(space) + 1e-5) / (q.sum(space) + target.sum(space) + 1e-5)
    return cross_entropy - dice.mean()


def by_definition(logits, target, valid, size):
    result, reach = logits.clone(), size // 2
    for b, c, *v in itertools.product(*[range(length) for length in logits.shape]):
        if not valid[(b, 0, *v)]:
            continue
        box = (b, c, *[slice(max(x - reach, 0), x + reach + 1) for x in v])
        here = target[(b, c, *v)]
        neighbours = logits[box][(target[box] == here) & valid[(b, 0, *box[2:])]]
        result[(b, c, *v)] = neighbours.min() if here else neighbours.max()
    return result


def case(*spatial: int, seed: int = 0):
    """Three classes in batches of two, a third of the voxels not valid."""
    generator = torch.Generator().manual_seed(seed)
    logits = 4 * torch.randn(2, 3, *spatial, generator=generator)
    labels = torch.randint(0, 3, (2, 1, *spatial), generator=generator)
    return logits, one_hot(labels, 3), torch.rand(2, 1, *spatial, generator=generator) > 0.3


@pytest.mark.parametrize("file", FILES)
def test_reference_equals_the_authors_logits_exactly(file):
    data, logits, target = golden(file)
    for size in (3, 5):
        ours = SCNPLoss.reference(receptive_field=size)(logits, target)
        assert np.array_equal(ours.numpy(), data[f"scnp_logits_n{size}"])


@pytest.mark.parametrize("file", FILES)
def test_the_authors_loss_on_top_has_their_value_and_gradient(file):
    data, logits, target = golden(file)
    logits.requires_grad_()
    loss = authors_ce_and_dice(SCNPLoss.reference()(logits, target), target)
    loss.backward()
    np.testing.assert_allclose(loss.item(), data["loss_cedice_rf3"], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(logits.grad.numpy(), data["grad_logits_cedice_rf3"], rtol=0, atol=1e-6)


@pytest.mark.parametrize("size", [1, 3, 5])
@pytest.mark.parametrize("spatial", SPACES, ids=str)
def test_equals_its_definition_with_classes_ignored_voxels_and_thin_images(spatial, size):
    logits, target, valid = case(*spatial)
    expected = by_definition(logits, target, valid, size)
    assert torch.equal(SCNPLoss(receptive_field=size)(logits, target, valid), expected)
    everywhere = torch.ones_like(valid)
    assert torch.equal(scnp_logits(logits, target, receptive_field=size),
                       by_definition(logits, target, everywhere, size))


@pytest.mark.parametrize("spatial", SPACES, ids=str)
def test_ignored_voxels_stay_and_penalise_nobody(spatial):
    logits, target, valid = case(*spatial)
    logits.requires_grad_()
    transformed = SCNPLoss()(logits, target, valid)
    hidden = ~valid.expand_as(logits)
    assert torch.equal(transformed[hidden], logits[hidden])
    (transformed * valid).square().sum().backward()
    assert (logits.grad[hidden] == 0).all() and (logits.grad[~hidden] != 0).any()
    noise = torch.where(hidden, 100 * torch.randn(logits.shape), logits.detach())
    assert torch.equal(SCNPLoss()(noise, target, valid)[~hidden], transformed[~hidden])


def test_each_gradient_goes_to_the_voxel_that_the_value_is_from():
    logits, target, _ = case(7, 8)
    weights = torch.randn(logits.shape, generator=torch.Generator().manual_seed(1))
    logits.requires_grad_()
    (SCNPLoss()(logits, target) * weights).sum().backward()
    expected = torch.zeros_like(weights)
    values = logits.detach()
    for (b, c, *_), value, weight in zip(itertools.product(*map(range, values.shape)),
                                         SCNPLoss()(values, target).flatten(), weights.flatten(), strict=True):
        expected[b, c][values[b, c] == value] += weight  # all values differ
    torch.testing.assert_close(logits.grad, expected)


def test_among_equals_a_voxels_gradient_stays_with_itself():
    logits, target, _ = case(7, 8)
    logits = torch.zeros_like(logits).requires_grad_()
    weights = torch.randn(logits.shape)
    (SCNPLoss(receptive_field=5)(logits, target) * weights).sum().backward()
    assert torch.equal(logits.grad, weights)


def test_regions_that_overlap_are_treated_each_by_itself():
    logits, target, valid = case(9, 11)
    target[:, 1] |= target[:, 0]
    together = SCNPLoss()(logits, target, valid)
    for c in range(3):
        assert torch.equal(SCNPLoss()(logits[:, c : c + 1], target[:, c : c + 1], valid), together[:, c : c + 1])


def test_cross_entropy_of_the_transformed_logits_is_never_lower():
    logits, target, _ = case(12, 14)
    labels = target.int().argmax(1)
    plain = torch.nn.functional.cross_entropy(logits, labels, reduction="none")
    assert (torch.nn.functional.cross_entropy(SCNPLoss()(logits, target), labels, reduction="none") >= plain).all()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_under_autocast_equals_float32_at_the_end_of_its_range(dtype):
    logits, target, valid = case(9, 11)
    logits = (logits.sign() * 6e4).to(dtype)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        transformed = SCNPLoss()(logits, target, valid)
    assert transformed.dtype == torch.float32 and torch.isfinite(transformed).all()
    assert torch.equal(transformed, SCNPLoss()(logits.float(), target, valid))


def test_an_empty_batch_and_a_float_target_are_taken():
    logits, target, _ = case(9, 11)
    assert SCNPLoss()(logits[:0], target[:0]).shape == (0, 3, 9, 11)
    assert torch.equal(SCNPLoss()(logits, target.float()), SCNPLoss()(logits, target))


@pytest.mark.parametrize(("call", "sentence"), [
    (lambda z, t: SCNPLoss(receptive_field=4), "must be an odd number of voxels of at least 1, e.g. 3 or 5, got 4"),
    (lambda z, t: SCNPLoss(receptive_field=-1), "odd number of voxels"),
    (lambda z, t: SCNPLoss()(z, t[:, 1:]), "one channel a class, the background's too"),
])
def test_options_that_cannot_be_get_a_sentence(call, sentence):
    logits, target, _ = case(9, 11)
    with pytest.raises(ValueError, match=sentence):
        call(logits, target)
