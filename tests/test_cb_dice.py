"""cbDice against the authors' results and a slow version in loops; test_loss_contract.py has what all promise."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.ndimage import distance_transform_edt

from nnunet_topo.losses import CbDiceLoss
from nnunet_topo.losses._depth import depth
from nnunet_topo.skeletons import soft_skeleton_of_mask, thin

GOLDEN = sorted((Path(__file__).parent / "golden").glob("cbdice_*.npz"))
CLOSE = {"rtol": 1e-5, "atol": 1e-6}


def golden(path: Path):
    data = np.load(path)
    logits = torch.from_numpy(data["logits"])
    target = torch.from_numpy(data["target"].astype(np.int64))
    return data, logits, torch.cat([target == channel for channel in range(1, logits.shape[1])], 1)


@pytest.mark.filterwarnings("ignore:CbDiceLoss. the target of at least one patch is thicker")
@pytest.mark.parametrize("path", GOLDEN, ids=lambda path: path.stem)
def test_reference_with_the_soft_skeleton_equals_the_authors_code_in_value_and_gradient(path):
    data, logits, target = golden(path)
    logits = logits.requires_grad_()
    loss = CbDiceLoss.reference()(logits.softmax(1)[:, 1:], target)
    loss.backward()
    # theirs is -1 for a perfect prediction, ours 0
    np.testing.assert_allclose(loss.item() - 1, data["loss_cbdice_t0"], **CLOSE)
    np.testing.assert_allclose(logits.grad, data["grad_logits_cbdice_t0"], rtol=1e-5, atol=1e-8)


@pytest.mark.parametrize("path", GOLDEN, ids=lambda path: path.stem)
def test_reference_with_the_authors_thinning_equals_their_code(path):
    data, logits, target = golden(path)
    loss = CbDiceLoss.reference(skeleton="euler")(logits.softmax(1)[:, 1:], target)
    np.testing.assert_allclose(loss.item() - 1, data["loss_cbdice_t1"], **CLOSE)


def tubes(*spatial: int) -> torch.Tensor:
    """(2, 2, *S): in each sample a tube of each class along the last axis, one thin and one thicker."""
    target = torch.zeros(2, 2, *spatial, dtype=torch.bool)
    for sample in range(2):
        for channel, (start, width) in enumerate(((1, 3), (6, 5))):
            across = [slice(start + sample, start + sample + width) if size > 5 else slice(None)
                      for size in spatial[:-1]]
            target[(sample, channel, *across)] = True
    return target


def blurred(target: torch.Tensor, seed: int = 0) -> torch.Tensor:
    """Probabilities that find the target with errors, none of them close to 1/2."""
    generator = torch.Generator().manual_seed(seed)
    noise = torch.rand(target.shape, generator=generator)
    wrong = torch.rand(target.shape, generator=generator) < 0.1
    return torch.where(target ^ wrong, 0.6 + 0.35 * noise, 0.05 + 0.35 * noise)


SPACES = [(16, 20), (15, 16, 18), (1, 15, 15), (3, 20, 16)]
SKELETONS = {"topological": {}, "soft": {"skeleton": "soft", "iterations": 4}, "euler": {"skeleton": "euler"}}
FORMS = {"default": {}, "soft": SKELETONS["soft"], "euler": SKELETONS["euler"], "batch": {"batch_wise": True},
         "all classes": {"skip_absent": False}, "merged": {"class_wise": False}}


def distance_by_hand(mask: np.ndarray) -> np.ndarray:
    """Of each voxel to the nearest voxel of background, over all pairs."""
    background = np.argwhere(~mask)
    distance = np.zeros(mask.shape)
    for voxel in np.argwhere(mask):
        distance[tuple(voxel)] = np.sqrt(((background - voxel) ** 2).sum(1).min()) if len(background) else 1
    return distance


def by_hand(p: np.ndarray, y: np.ndarray, s_p: np.ndarray, s_l: np.ndarray, smooth: float = 1e-3) -> float:
    """Loss of one sample's class, voxel by voxel."""
    hard = p > 0.5
    d_p, d_l = distance_by_hand(hard), distance_by_hand(y)
    r_p, r_l = max(d_p[s_p].max(initial=0), 1), max(d_l[s_l].max(initial=0), 1)
    sums = [smooth] * 4
    for voxel in np.ndindex(p.shape):
        q_vp, q_vl = min(d_p[voxel], r_p) / r_p * p[voxel], min(d_l[voxel], r_l) / r_l
        if s_p[voxel]:
            q_sp = ((r_p - d_p[voxel] + 1) / r_p) ** (p.ndim - 1) * p[voxel]
            sums[0] += q_sp * q_vl
            sums[1] += q_sp * (q_vl if s_l[voxel] else max(q_vp, q_vl))
        if s_l[voxel]:
            q_sl = ((r_l - d_l[voxel] + 1) / r_l) ** (p.ndim - 1)
            sums[2] += q_sl * q_vp
            sums[3] += q_sl * (q_vp if s_p[voxel] else max(q_vl, q_vp))
    precision, sensitivity = sums[0] / sums[1], sums[2] / sums[3]
    return 1 - 2 * precision * sensitivity / (precision + sensitivity)


@pytest.mark.parametrize("skeleton", SKELETONS)
@pytest.mark.parametrize("spatial", [(16, 20), (12, 13, 14), (1, 15, 15)], ids=str)
def test_equals_the_loops_written_out(spatial, skeleton):
    target = tubes(*spatial)
    probabilities = blurred(target)
    thinned = {"topological": lambda mask: thin(mask, border="anchored"),
               "euler": lambda mask: thin(mask, None, "euler"),
               "soft": lambda mask: soft_skeleton_of_mask(mask, 4)[0]}[skeleton]
    s_p, s_l = thinned(probabilities > 0.5), thinned(target)
    expected = [by_hand(*(tensor[b, c].numpy() for tensor in (probabilities, target, s_p, s_l)))
                for b in range(2) for c in range(2)]
    value = CbDiceLoss(**SKELETONS[skeleton])(probabilities, target).item()
    assert value == pytest.approx(sum(expected) / 4, rel=1e-5)
    assert 0 < value < 1


def masks() -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    thick = torch.zeros(1, 2, 40, 44, dtype=torch.bool)
    thick[:, 0, 2:38, 3:41] = thick[:, 1, 20:] = True  # depths of 18 and 20: two further rounds
    full = torch.ones(1, 2, 9, 10, 11, dtype=torch.bool)
    full[:, 1, 4, 4, 4] = False
    return {"noise 2d": torch.rand(2, 3, 19, 23, generator=generator) > 0.1, "thick": thick, "full": full,
            "noise 3d": torch.rand(2, 1, 9, 14, 12, generator=generator) > 0.02, "tubes": tubes(15, 16, 18),
            "empty": torch.zeros(1, 1, 6, 7, dtype=torch.bool), "thin": tubes(1, 15, 15)}


@pytest.mark.parametrize("name", masks())
def test_depth_is_the_distance_to_the_background_up_to_the_skeletons(name):
    mask = masks()[name]
    skeleton = thin(mask)
    bounded, radius = depth(mask, skeleton)
    for b in range(mask.shape[0]):
        for c in range(mask.shape[1]):
            image = mask[b, c].numpy()
            distance = np.ones(image.shape) if image.all() else distance_transform_edt(image)
            largest = max(distance[skeleton[b, c].numpy()].max(initial=0), 1)
            assert radius[b, c].item() == pytest.approx(largest)
            np.testing.assert_allclose(bounded[b, c], np.minimum(distance, largest), rtol=1e-6)


@pytest.mark.parametrize("spatial", SPACES, ids=str)
@pytest.mark.parametrize("form", FORMS)
def test_a_perfect_prediction_is_0_and_worse_costs_more(form, spatial):
    loss, target = CbDiceLoss(**FORMS[form]), tubes(*spatial)
    target[:, 1] &= ~target[:, 0]  # merged classes exclude each other
    cut, shifted, merged, thinner = target.clone(), target.roll(2, -2), target.clone(), target.clone()
    cut[..., spatial[-1] // 2 : spatial[-1] // 2 + 3] = False
    merged[..., :, spatial[-1] // 2] = True
    thinner[..., :7, :] = False
    worse = {"cut": cut, "shifted": shifted, "merged": merged, "thinner": thinner, "empty": torch.zeros_like(target)}
    if form == "merged":
        worse["merged"] &= ~worse["merged"][:, :1] | torch.tensor([True, False]).view(1, 2, *[1] * len(spatial))
    assert loss(target.float(), target).item() == 0
    values = {name: loss(other.float(), target).item() for name, other in worse.items()}
    assert all(0 < value <= 1 for value in values.values()), values
    assert values["cut"] < values["empty"]


def test_a_full_prediction_costs_more_than_a_perfect_one_but_not_with_the_soft_skeleton_which_is_then_empty():
    target = tubes(15, 16, 18)
    assert CbDiceLoss()(torch.ones(target.shape), target).item() > 0.2
    assert CbDiceLoss(**SKELETONS["soft"])(torch.ones(target.shape), target).item() == 0


def test_bounds_keep_a_wrong_prediction_from_costing_less_than_a_perfect_one():
    """A thin vessel found thick and a thick one found thin, each a voxel off the centre line."""
    target = torch.zeros(1, 1, 45, 60, dtype=torch.bool)
    prediction = torch.zeros(target.shape)
    target[..., 10, :] = prediction[..., 34, :] = True
    prediction[..., 1:18, :] = target[..., 25:42, :] = True
    assert CbDiceLoss(bounded=False)(prediction, target).item() < 0 < CbDiceLoss()(prediction, target).item()


@pytest.mark.parametrize("form", ["default", "batch", "merged"])
@pytest.mark.parametrize("regions", [False, True])
def test_skeletons_of_the_loader_are_those_made_without_it(form, regions):
    loss = CbDiceLoss(**FORMS[form])
    target = tubes(10, 17, 20)
    target[:, 1] &= ~target[:, 0]
    probabilities = blurred(target) / 2
    ignored = torch.zeros(2, 1, 10, 17, 20, dtype=torch.bool)
    ignored[..., :4] = True
    if regions:
        prepared = loss.prepare(target & ~ignored)
    else:
        labels = torch.where(ignored, 3, (target * torch.tensor([1, 2]).view(1, 2, 1, 1, 1)).sum(1, keepdim=True))
        made = loss.prepare(labels, 3)
        prepared = torch.cat([made == 1, made == 2], 1)
    assert prepared.any() and not (prepared & ignored).any()
    assert loss(probabilities, target, ~ignored, prepared).item() == loss(probabilities, target, ~ignored).item()


@pytest.mark.parametrize("form", FORMS)
def test_empty_targets_and_predictions_are_finite_and_connected(form):
    target = tubes(12, 14)
    target[:, 1] &= ~target[:, 0]
    nothing = torch.zeros_like(target)
    scale = 0.5 if form == "merged" else 1.0
    for prediction in (torch.zeros(target.shape), torch.rand(target.shape), torch.ones(target.shape)):
        for truth in (nothing, target, ~nothing):
            probabilities = (prediction * scale).requires_grad_()
            loss = CbDiceLoss(**FORMS[form])(probabilities, truth)
            loss.backward()
            assert 0 <= loss.item() <= 1 and torch.isfinite(probabilities.grad).all()
    assert CbDiceLoss(**FORMS[form])(torch.zeros(target.shape), nothing).item() == 0


def test_a_samples_loss_does_not_depend_on_its_batch_nor_an_absent_class_on_the_others():
    target = tubes(16, 20)
    target[0, 1] = False
    probabilities = blurred(target)
    loss = CbDiceLoss()
    singles = [loss(probabilities[i : i + 1], target[i : i + 1]).item() for i in range(2)]
    assert loss(probabilities, target).item() == pytest.approx(sum(singles) / 2, rel=1e-6)
    assert loss(probabilities.flip(1), target.flip(1)).item() == pytest.approx(sum(singles) / 2, rel=1e-6)
    assert singles[0] == pytest.approx(loss(probabilities[:1, :1], target[:1, :1]).item(), rel=1e-6)


def test_permuting_the_axes_permutes_the_gradient():
    target = tubes(10, 12, 14)
    loss = CbDiceLoss(**SKELETONS["soft"])  # thinning looks at the axes in turn
    gradients = []
    for order in ((0, 1, 2, 3, 4), (0, 1, 4, 2, 3)):
        probabilities = blurred(target).permute(order).requires_grad_()
        loss(probabilities, target.permute(order)).backward()
        gradients.append(probabilities.grad)
    torch.testing.assert_close(gradients[0].permute(0, 1, 4, 2, 3), gradients[1])


def test_gradient_is_that_of_the_value_and_none_where_nothing_is_predicted():
    target = tubes(9, 8)
    for form in ("default", "soft", "batch"):
        probabilities = blurred(target).double().requires_grad_()
        loss = CbDiceLoss(**FORMS[form])
        assert torch.autograd.gradcheck(lambda p, loss=loss: loss(p, target), (probabilities,))
        loss(probabilities, target).backward()
        assert (probabilities.grad[probabilities <= 0.5] == 0).all()


def test_only_the_soft_skeleton_takes_its_iterations_from_the_labels_and_says_when_they_are_too_few():
    assert CbDiceLoss.from_labels({"skeleton": "soft"})["iterations"][1:] == (3, 25)
    assert CbDiceLoss.from_labels({"skeleton": "topological"}) == {}
    target = torch.zeros(1, 1, 32, 32, dtype=torch.bool)
    target[..., 8:24, 8:24] = True  # needs 7
    enough, few = CbDiceLoss(skeleton="soft", iterations=7), CbDiceLoss(skeleton="soft", iterations=6)
    enough(target.float(), target)
    with pytest.warns(UserWarning, match="CbDiceLoss: the target of at least one patch is thicker than 6 iterations"):
        few(target.float(), target)
    assert enough.notices() == [] and "thicker than 6 iterations" in few.notices()[0]


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_a_softmax_in_half_precision_is_one_for_merged_classes_too(dtype):
    target = tubes(16, 20)
    logits = 3 * torch.randn(2, 3, 16, 20, generator=torch.Generator().manual_seed(0))
    rounded = logits.to(dtype).softmax(1)[:, 1:]
    assert 1 < rounded.float().sum(1).max() < 1 + torch.finfo(dtype).eps
    expected = CbDiceLoss(class_wise=False)(logits.to(dtype).float().softmax(1)[:, 1:], target).item()
    for given in (rounded, rounded.float()):
        assert CbDiceLoss(class_wise=False)(given, target).item() == pytest.approx(expected, abs=5e-3)


@pytest.mark.parametrize(("call", "sentence"), [
    (lambda p, t: CbDiceLoss(skeleton="thin"), "skeleton must be 'topological', 'soft' or 'euler', got 'thin'"),
    (lambda p, t: CbDiceLoss(iterations=-1), "iterations must be at least 0"),
    (lambda p, t: CbDiceLoss(smooth=0), "smooth must be greater than 0"),
    (lambda p, t: CbDiceLoss(skeleton="soft")(p, t), "needs its number of iterations"),
    (lambda p, t: CbDiceLoss(class_wise=False)(p * 0 + 0.8, t), r"add up to 1\.600. For regions, which overlap"),
])
def test_options_that_cannot_be_get_a_sentence(call, sentence):
    target = tubes(16, 20)
    with pytest.raises(ValueError, match=sentence):
        call(torch.rand(target.shape), target)
