"""The MIP loss against the authors' results and a slow version in loops; test_loss_contract.py has what all promise."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from nnunet_topo.losses import MIPLoss
from nnunet_topo.losses.mip import focal_tversky, projections
from nnunet_topo.nnunet import CompoundLoss, Term
from nnunet_topo.nnunet.training.terms import resolve_terms

GOLDEN = sorted((Path(__file__).parent / "golden").glob("mip_*.npz"))
AXES = {"x": (0,), "y": (1,), "z": (2,), "multi": (0, 1, 2)}
CLOSE = {"rtol": 1e-5, "atol": 1e-6}


def golden(path: Path):
    data = np.load(path)
    meta = json.loads(str(data["meta"]))
    logits = [torch.from_numpy(data[f"logits{i}"].astype(np.float32) * np.float32(meta["logits_scale"]))
              for i in range(meta["levels"])]
    return data, meta["loss_ratios"], logits, torch.from_numpy(data["target"].astype(bool))


def authors_loop(loss, ratios, outputs, target):
    """Sums start from 0.001, outputs are enlarged to full size, ratios are not normalised."""
    levels = [F.interpolate(output, size=target.shape[2:], mode="nearest") for output in outputs]
    return 0.001 + sum(ratio * (0.001 / len(target) + loss(output, target))
                       for ratio, output in zip(ratios, levels, strict=False))


@pytest.mark.parametrize("axes", AXES)
@pytest.mark.parametrize("path", GOLDEN, ids=lambda path: path.stem)
def test_reference_equals_the_authors_code_in_value_and_gradient(path, axes):
    data, ratios, logits, target = golden(path)
    logits = [level.requires_grad_() for level in logits]
    loss = authors_loop(MIPLoss.reference(axes=AXES[axes]), ratios, [level.sigmoid() for level in logits], target)
    loss.backward()
    np.testing.assert_allclose(loss.item(), data[f"mip_loss_{axes}"], **CLOSE)
    for i, level in enumerate(logits):
        if f"grad_logits{i}_mip_{axes}" in data:  # of the three levels, multi only
            np.testing.assert_allclose(level.grad, data[f"grad_logits{i}_mip_{axes}"], rtol=1e-5, atol=1e-8)


@pytest.mark.parametrize("path", GOLDEN, ids=lambda path: path.stem)
def test_focal_tversky_of_the_volumes_equals_the_authors_code(path):
    data, ratios, logits, target = golden(path)
    whole_batch = target.reshape(1, 1, -1).float()
    value = 0.001
    for ratio, level in zip(ratios, logits, strict=False):
        full = F.interpolate(level.sigmoid(), size=target.shape[2:], mode="nearest").reshape(1, 1, -1)
        value += ratio * focal_tversky(full, whole_batch, alpha=0.7, gamma=0.75, smooth=1.0).item()
    np.testing.assert_allclose(value, data["floss"], **CLOSE)


@pytest.mark.parametrize("path", [path for path in GOLDEN if "mip_2" not in path.stem], ids=lambda path: path.stem)
def test_a_perfect_prediction_costs_the_offsets_alone_and_not_what_the_authors_mismatched_axes_make_of_it(path):
    """Theirs meets the prediction's projection along one axis with the target's along another."""
    data, ratios, logits, target = golden(path)
    perfect = [target.float() for _ in logits]
    for axes, numbers in AXES.items():
        value = authors_loop(MIPLoss.reference(axes=numbers), ratios, perfect, target).item()
        np.testing.assert_allclose(value, data[f"mip_loss_{axes}_perfectpred"], **CLOSE)
        assert data[f"mip_loss_{axes}_officialaxes_perfectpred"] > 0.25


def vessels(*spatial: int, batch: int = 2) -> torch.Tensor:
    """(B, 2, *S): in each sample a line of voxels of either class, each along another axis and bent."""
    target = torch.zeros(batch, 2, *spatial, dtype=torch.bool)
    x, y, z = spatial
    for sample in range(batch):
        target[sample, 0, x // 3, 1 + sample :, z // 2] = True
        target[sample, 0, x // 3 :, y // 2, z // 2] = True
        target[sample, 1, :, y // 4, z // 4 + sample] = True
    return target


SPACES = [(12, 10, 14), (9, 16, 7), (1, 15, 14), (4, 20, 17)]
FORMS = {"default": {}, "one axis": {"axes": (1,)}, "slabs": {"slab": 4}, "soft": {"top_k": 3},
         "soft slabs": {"top_k": 3, "slab": 5}, "authors": {"sum_axes": True, "skip_absent": False}}


def by_hand(probabilities, target, valid, *, axes=(0, 1, 2), slab=None, top_k=1, alpha=0.7, gamma=0.75, smooth=1.0):
    """Mean over samples of the mean over present classes of the mean over axes, ray by ray."""
    samples = []
    for b in range(len(target)):
        classes = []
        for c in range(target.shape[1]):
            seen = target[b, c] & valid[b, 0]
            if not seen.any():
                continue
            errors = []
            for axis in axes:
                p, y, v = (volume.movedim(axis, -1) for volume in (probabilities[b, c], target[b, c], valid[b, 0]))
                length, step = p.shape[-1], slab or p.shape[-1]
                overlap = missed = false = 0.0
                for i, j in itertools.product(range(p.shape[0]), range(p.shape[1])):
                    for start in range(0, length, step):
                        ray = slice(start, start + step)
                        inside = v[i, j, ray]
                        values = sorted(p[i, j, ray][inside].tolist(), reverse=True)
                        if not values:
                            continue  # ignored altogether
                        foreground = int(y[i, j, ray][inside].sum())
                        values = values[: min(top_k, foreground or top_k)]
                        projection, truth = sum(values) / len(values), float(foreground > 0)
                        overlap += projection * truth
                        missed += (1 - projection) * truth
                        false += projection * (1 - truth)
                wrong = alpha * missed + (1 - alpha) * false
                errors.append((wrong / (overlap + wrong + smooth)) ** gamma)
            classes.append(sum(errors) / len(errors))
        samples.append(sum(classes) / len(classes) if classes else 0.0)
    return sum(samples) / len(samples)


@pytest.mark.parametrize("ignore", [False, True])
@pytest.mark.parametrize("spatial", SPACES, ids=str)
@pytest.mark.parametrize("form", [form for form in FORMS if form != "authors"])
def test_equals_the_loops_written_out(form, spatial, ignore):
    generator = torch.Generator().manual_seed(0)
    target, valid = vessels(*spatial), torch.ones(2, 1, *spatial, dtype=torch.bool)
    target[0, 1] = False  # absent
    if ignore:
        valid = torch.rand(valid.shape, generator=generator) > 0.3
        valid[:, :, :, :2] = False  # whole rays
    probabilities = torch.rand(target.shape, generator=generator)
    value = MIPLoss(**FORMS[form])(probabilities, target, valid if ignore else None).item()
    assert value == pytest.approx(by_hand(probabilities, target, valid, **FORMS[form]), rel=1e-5)


@pytest.mark.parametrize("spatial", SPACES, ids=str)
@pytest.mark.parametrize("form", FORMS)
def test_a_perfect_prediction_is_0_with_a_finite_gradient_and_worse_costs_more(form, spatial):
    loss, target = MIPLoss(**FORMS[form]), vessels(*spatial)
    perfect = target.float().requires_grad_()
    value = loss(perfect, target)
    value.backward()
    assert value.item() == 0 and torch.isfinite(perfect.grad).all()
    broken = target.clone()
    broken[..., spatial[2] // 2] = False
    one_less, nothing = loss(broken.float(), target).item(), loss(torch.zeros(target.shape), target).item()
    assert 0 < one_less < nothing <= (3 if form == "authors" else 1)


def test_swapped_axes_raise_the_loss_on_a_patch_that_is_no_cube():
    target = vessels(12, 16, 14)
    for swap in ((2, 3), (2, 4), (3, 4)):
        other = torch.zeros_like(target)
        size = [min(a, b) for a, b in zip(target.shape, target.transpose(*swap).shape, strict=True)]
        common = tuple(slice(0, length) for length in size)
        other[common] = target.transpose(*swap)[common]
        assert MIPLoss()(other.float(), target).item() > 0.2 > MIPLoss()(target.float(), target).item()


def test_permuting_the_patchs_axes_permutes_the_gradient():
    target = vessels(12, 10, 14)
    probabilities = torch.rand(target.shape, generator=torch.Generator().manual_seed(0)).requires_grad_()
    for order in itertools.permutations((0, 1, 2)):
        axes = [2 + axis for axis in order]
        permuted = probabilities.detach().permute(0, 1, *axes).requires_grad_()
        first = MIPLoss(axes=(order[0],))(probabilities, target)
        second = MIPLoss(axes=(0,))(permuted, target.permute(0, 1, *axes))
        assert first.item() == pytest.approx(second.item(), rel=1e-6)
        (gradient,) = torch.autograd.grad(first, probabilities)
        second.backward()
        torch.testing.assert_close(gradient.permute(0, 1, *axes), permuted.grad)


def test_value_written_out_by_hand():
    """Along axis 0 a row of 8 pixels, of which 2 are missed, and 3 pixels beside it that are not the target's."""
    target = torch.zeros(1, 1, 5, 6, 8, dtype=torch.bool)
    target[..., 2, 3, :] = True
    prediction = torch.zeros(target.shape)
    prediction[..., 4, 3, 2:] = 1  # another slice, the same projection
    prediction[..., 1, 0, :3] = 1
    wrong = 0.7 * 2 + 0.3 * 3
    assert MIPLoss(axes=(0,))(prediction, target).item() == pytest.approx((wrong / (6 + wrong + 1)) ** 0.75, rel=1e-6)


def test_slabs_see_what_a_full_projection_hides():
    target = torch.zeros(1, 1, 8, 6, 6, dtype=torch.bool)
    target[..., 1, 3, :] = target[..., 6, 3, :] = True  # two vessels, one behind the other
    prediction = target.float()
    prediction[..., 6, 3, :] = 0
    assert MIPLoss(axes=(0,))(prediction, target).item() == 0
    assert MIPLoss(axes=(0,), slab=4)(prediction, target).item() > 0.2
    assert MIPLoss(axes=(0,), slab=8)(prediction, target).item() == 0
    assert projections(prediction, target, None, axis=0, slab=3)[0].shape == (1, 1, 3, 6, 6)


def test_the_maximum_moves_one_voxel_of_a_ray_and_the_softer_form_several():
    target = torch.zeros(1, 1, 10, 4, 4, dtype=torch.bool)
    target[..., 2:8, 1, 1] = True
    probabilities = torch.rand(target.shape, generator=torch.Generator().manual_seed(0))
    for top_k, moved in ((1, 1), (3, 3), (9, 6)):  # on this ray not more than its 6 voxels of foreground
        free = probabilities.clone().requires_grad_()
        MIPLoss(axes=(0,), top_k=top_k)(free, target).backward()
        assert (free.grad[..., 1, 1] < 0).sum() == moved
        assert (free.grad[..., 0, 0] > 0).sum() == top_k


@pytest.mark.parametrize("form", FORMS)
def test_empty_targets_and_predictions_are_finite_and_connected(form):
    target = vessels(12, 10, 14)
    nothing = torch.zeros_like(target)
    for prediction in (torch.zeros(target.shape), torch.rand(target.shape), torch.ones(target.shape)):
        for truth in (nothing, target, ~nothing):
            probabilities = prediction.clone().requires_grad_()
            loss = MIPLoss(**FORMS[form])(probabilities, truth)
            loss.backward()
            assert 0 <= loss.item() <= 3 and torch.isfinite(probabilities.grad).all()
    assert MIPLoss(**FORMS[form])(torch.zeros(target.shape), nothing).item() == 0


def test_a_samples_loss_does_not_depend_on_its_batch_nor_an_absent_class_on_the_others():
    target = vessels(12, 10, 14)
    target[0, 1] = False
    probabilities = torch.rand(target.shape, generator=torch.Generator().manual_seed(0))
    loss = MIPLoss()
    singles = [loss(probabilities[i : i + 1], target[i : i + 1]).item() for i in range(2)]
    assert loss(probabilities, target).item() == pytest.approx(sum(singles) / 2, rel=1e-6)
    assert singles[0] == pytest.approx(loss(probabilities[:1, :1], target[:1, :1]).item(), rel=1e-6)


def test_gradient_is_that_of_the_value():
    target = vessels(4, 3, 5)
    valid = torch.rand(2, 1, 4, 3, 5, generator=torch.Generator().manual_seed(1)) > 0.2
    probabilities = torch.rand(target.shape, generator=torch.Generator().manual_seed(0)).double().requires_grad_()
    for form in FORMS.values():
        assert torch.autograd.gradcheck(lambda p, form=form: MIPLoss(**form)(p, target, valid), (probabilities,))


def test_focal_tversky_near_a_perfect_prediction_is_a_straight_line_that_meets_the_power():
    target = torch.ones(1, 1, 10**6)
    values, slopes = [], []
    for missing in (0.0, 5e-5, 2e-4):
        prediction = (target.double() - missing).requires_grad_()
        loss = focal_tversky(prediction, target, alpha=0.7, gamma=0.75, smooth=1.0).sum()
        loss.backward()
        values.append(loss.item())
        slopes.append(prediction.grad.sum().item())
    expected = 0.7 * 2e-4 / (1 - 2e-4 + 0.7 * 2e-4)
    assert values == pytest.approx([0, 0.7 * 5e-5 * 10, expected**0.75], rel=1e-3)
    assert slopes[0] == pytest.approx(-0.7 * 10, rel=1e-3) and slopes[0] < slopes[2] < 0


def test_under_deep_supervision_each_level_is_projected_from_its_own_target():
    outputs = [torch.randn(2, 3, *size) for size in ((12, 16, 16), (12, 8, 8), (6, 4, 4))]
    targets = [torch.randint(0, 3, (2, 1, *output.shape[2:])) for output in outputs]
    loss = CompoundLoss(torch.nn.Identity(), {"mip": Term(MIPLoss, levels=2)}, level_weights=[4 / 7, 2 / 7, 1 / 7],
                        has_regions=False, ignore_label=None)
    loss.base.forward = lambda output, target: output[0].sum() * 0
    levels = [MIPLoss()(output.softmax(1)[:, 1:], torch.cat([target == 1, target == 2], 1)).item()
              for output, target in zip(outputs, targets, strict=True)]
    assert loss(outputs, targets).item() == pytest.approx((2 * levels[0] + levels[1]) / 3, rel=1e-5)


def test_a_plans_file_sets_axes_slabs_and_the_softer_form():
    settings = {"axes": [0, 2], "slab": 8, "top_k": 3}
    (term,) = resolve_terms({"mip": Term(MIPLoss)}, {"nnunet_topo": {"mip": settings}}, "3d_fullres").values()
    loss = term.build()
    assert (loss.axes, loss.slab, loss.top_k) == ((0, 2), 8, 3)
    with pytest.raises(ValueError, match="slab must be a whole number from 1 to 10,000, or null"):
        resolve_terms({"mip": Term(MIPLoss)}, {"nnunet_topo": {"mip": {"slab": 0.5}}}, "3d_fullres")


@pytest.mark.parametrize(("call", "sentence"), [
    (lambda p, t: MIPLoss(axes=()), "axes must be one or more of 0, 1 and 2"),
    (lambda p, t: MIPLoss(axes=(0, 3)), "axes must be one or more of 0, 1 and 2"),
    (lambda p, t: MIPLoss(axes=(1, 1)), "each once"),
    (lambda p, t: MIPLoss(slab=0), "slab must be at least 1 slice"),
    (lambda p, t: MIPLoss(top_k=0), "top_k must be at least 1"),
    (lambda p, t: MIPLoss(alpha=1.1), "alpha must lie between 0 and 1"),
    (lambda p, t: MIPLoss(gamma=0), "gamma must be greater than 0"),
    (lambda p, t: MIPLoss(smooth=0), "smooth must be greater than 0"),
    (lambda p, t: MIPLoss()(p[0], t[0]), "with three spatial axes"),
])
def test_options_that_cannot_be_get_a_sentence(call, sentence):
    target = vessels(12, 10, 14)
    with pytest.raises(ValueError, match=sentence):
        call(torch.rand(target.shape), target)
