"""The kernels for CUDA where there is no CUDA: run by Triton's interpreter, and compiled, but not run, for its GPUs."""

from __future__ import annotations

import importlib.util
import re
import sys
from types import SimpleNamespace

import pytest
import torch

from nnunet_topo.skeletons import _device, soft_skeleton, soft_torch, thin, thinning_torch

triton = pytest.importorskip("triton")
CPU = torch.device("cpu")
SOFT = ("_erosion", "_opening", "_opening_weight", "_through_dilation", "_minima", "_through_erosion")
THINNING = ("_end_points", "_delete")


def module_of(name, monkeypatch, interpreted):
    """The module imported again, its kernels in plain Python where they are to be interpreted."""
    monkeypatch.setenv("TRITON_INTERPRET", "1" if interpreted else "0")
    found = importlib.util.find_spec(f"nnunet_topo.skeletons.{name}")
    spec = importlib.util.spec_from_file_location(f"{name}_{interpreted}", found.origin)
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, spec.name, module)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def soft(monkeypatch):
    return module_of("soft_triton", monkeypatch, interpreted=True)


@pytest.fixture
def thinning(monkeypatch):
    return module_of("thinning_triton", monkeypatch, interpreted=True)


def images_of(kind, size):
    random = torch.rand(size, generator=torch.Generator().manual_seed(len(size)))
    return {"distinct": random, "tied": (3 * random).round() / 3, "binary": random.round(),
            "full": torch.ones(size), "empty": torch.zeros(size)}[kind]


@pytest.mark.parametrize(("kind", "size"), [
    ("distinct", (2, 7, 9)), ("tied", (2, 7, 9)), ("binary", (1, 7, 9)), ("full", (1, 7, 9)), ("empty", (1, 7, 9)),
    ("distinct", (2, 4, 5, 6)), ("tied", (1, 4, 5, 6)), ("binary", (1, 4, 5, 6)), ("tied", (1, 4, 1, 6))])
def test_soft_skeleton_and_gradient_are_those_of_the_torch_operations(soft, kind, size):
    images = images_of(kind, size)
    gradients = torch.randn(size, generator=torch.Generator().manual_seed(1))
    ours, theirs = (_device._soft(module, images, gradients, iterations=1) for module in (soft, soft_torch))
    assert all(map(torch.equal, ours[:3], theirs[:3]))
    torch.testing.assert_close(ours[3], theirs[3], rtol=1e-5, atol=1e-6)


def test_soft_skeleton_without_levels_to_keep_and_in_double_precision(soft):
    images = images_of("distinct", (2, 7, 9)).double()
    skeleton, rest = torch.empty_like(images), torch.empty_like(images)
    soft.forward(images, images.new_empty(2, 2, 7, 9), skeleton, rest, 4)
    assert torch.equal(skeleton, soft_skeleton(images[None], 4)[0])


def test_nan_is_handed_on(soft):
    images = torch.full((1, 9, 9), 0.5)
    images[0, 4, 4] = torch.nan
    results = []
    for module in (soft, soft_torch):
        skeleton, rest = torch.empty_like(images), torch.empty_like(images)
        module.forward(images, images.new_empty(1, 2, 9, 9), skeleton, rest, 1)
        results.append(skeleton)
    assert results[0].isnan().any() and torch.equal(results[0].isnan(), results[1].isnan())


@pytest.mark.parametrize("size", [(2, 8, 9), (1, 1, 6), (1, 4, 5, 6), (1, 1, 5, 6)])
@pytest.mark.parametrize(("rule", "iterations", "anchored", "ends"), [
    ("topological", None, True, True), ("euler", 2, False, True), ("topological", 1, True, False)])
def test_thinning_is_that_of_the_torch_operations(thinning, size, rule, iterations, anchored, ends):
    random = torch.rand(size, generator=torch.Generator().manual_seed(2))
    anchors = random > 0.9 if anchored else None
    ours, theirs = (module.thin(random > 0.3, rule, iterations, anchors, keep_end_points=ends)
                    for module in (thinning, thinning_torch))
    assert torch.equal(ours, theirs)


def test_thinning_leaves_its_input_as_it_was_and_takes_views(thinning):
    images = images_of("binary", (2, 9, 8)).bool()
    before = images.clone()
    turned = thinning.thin(images.transpose(1, 2), "topological", None, images.transpose(1, 2))
    assert torch.equal(images, before) and torch.equal(turned, images.transpose(1, 2))
    thinned = thinning.thin(images.transpose(1, 2), "topological", None)
    assert torch.equal(thinned[:, None], thin(before.transpose(1, 2)[:, None]))


def compiled(kernel, axes, number, capability, fused=False):
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    def type_of(name):
        if name in ("axes", "block"):
            return "constexpr"
        if name.endswith("_stride"):
            return "i64"
        if name in ("voxels", "depth", "height", "width") or name.startswith("start_"):
            return "i32"
        if name in ("holder", "code", "images", "stays", "fixed", "table"):
            return "*u8"
        return "*i32" if name == "changed" else f"*{number}"

    source = ASTSource(kernel, {name: type_of(name) for name in kernel.arg_names}, {"axes": axes, "block": 256})
    return triton.compile(source, target=GPUTarget("cuda", capability, 32), options={"enable_fp_fusion": fused})


@pytest.mark.parametrize("axes", [2, 3])
@pytest.mark.parametrize(("name", "kernel"), [*(("soft_triton", kernel) for kernel in SOFT),
                                              *(("thinning_triton", kernel) for kernel in THINNING)])
def test_kernels_compile_for_gpus_without_atomic_operations(name, kernel, axes, monkeypatch):
    module = module_of(name, monkeypatch, interpreted=False)
    for number, capability in (("fp32", 75), ("fp32", 90), ("fp64", 80)):
        machine = compiled(getattr(module, kernel), axes, number, capability)
        operations = re.findall(r"^\s*(?:@!?%p\d+ )?([a-z]+\.[a-z0-9.:]+)", machine.asm["ptx"], re.MULTILINE)
        assert len(machine.asm["cubin"]) > 1000 and any(op.startswith("ld.global") for op in operations)
        assert not [op for op in operations if op.startswith(("atom", "red"))]


def test_the_skeleton_is_rounded_after_each_operation_as_pooling_and_relu_round_it(monkeypatch):
    """s + relu(d - s d): a fused multiplication and subtraction would give other values than the composition."""
    module = module_of("soft_triton", monkeypatch, interpreted=False)
    assert "FFMA" not in compiled(module._opening, 3, "fp32", 90).asm["sass"]
    assert "FFMA" in compiled(module._opening, 3, "fp32", 90, fused=True).asm["sass"]
    options = []
    monkeypatch.setattr(module, "_opening", {(1,): lambda *arguments, **given: options.append(given)})
    module._run(module._opening, torch.zeros(1, 2, 3, 4))
    assert options[0]["enable_fp_fusion"] is False


def test_all_kernels_are_looked_at(monkeypatch):
    for name, kernels in (("soft_triton", SOFT), ("thinning_triton", THINNING)):
        module = module_of(name, monkeypatch, interpreted=False)
        jitted = {key for key, value in vars(module).items() if "voxels" in getattr(value, "arg_names", ())}
        assert jitted - {"_place"} == set(kernels)


def test_kernels_that_disagree_are_found(soft, thinning):
    assert _device.disagreement(CPU, soft, thinning) == ""

    def off_by_one_voxel(images, *arguments, **options):
        return thinning_torch.thin(images, *arguments, **options).roll(1, -1)

    def without_its_last_iteration(images, eroded, skeleton, rest, iterations):
        soft_torch.forward(images, eroded[:, :-1], skeleton, rest, iterations - 1)

    def twice(images, eroded, rest, gradient, result):
        soft_torch.backward(images, eroded, rest, 2 * gradient, result)

    wrong = [(SimpleNamespace(forward=without_its_last_iteration, backward=soft_torch.backward), thinning_torch),
             (SimpleNamespace(forward=soft_torch.forward, backward=twice), thinning_torch),
             (soft_torch, SimpleNamespace(thin=off_by_one_voxel))]
    assert [_device.disagreement(CPU, *modules) for modules in wrong] == [
        "another soft skeleton in 2D", "another gradient of the soft skeleton in 2D", "another thinning in 2D"]


class OnCuda:
    """What is asked of images on a GPU before work begins."""

    device = torch.device("cuda", 7)

    def __init__(self, voxels=1000):
        self.voxels = voxels

    def __getitem__(self, index):
        return SimpleNamespace(numel=lambda: self.voxels)


@pytest.fixture
def unknown_devices():
    _device.why_not_triton.cache_clear()
    yield
    _device.why_not_triton.cache_clear()


def test_a_device_on_which_triton_fails_computes_by_torch_operations_and_says_so_once(
        monkeypatch, recwarn, unknown_devices):
    def fails(*arguments):
        raise RuntimeError("Failed to find C compiler")

    monkeypatch.setattr(_device, "disagreement", fails)
    assert _device.soft_backend(OnCuda()) is soft_torch and _device.thinning_backend(OnCuda()) is thinning_torch
    (warning,) = recwarn.list
    assert all(part in str(warning.message) for part in ("cuda:7", "Failed to find C compiler", "gcc"))


def test_images_on_cuda_take_the_kernels_unless_they_have_more_voxels_than_these_can_count(
        monkeypatch, unknown_devices):
    monkeypatch.setattr(_device, "disagreement", lambda *arguments: "")
    assert _device.soft_backend(OnCuda()).__name__.endswith("soft_triton")
    assert _device.thinning_backend(OnCuda()).__name__.endswith("thinning_triton")
    assert _device.soft_backend(OnCuda(2**31)) is soft_torch
    assert _device.thinning_backend(OnCuda(2**31)) is thinning_torch


def test_without_triton_torch_operations_do_the_work(monkeypatch, recwarn, unknown_devices):
    monkeypatch.setattr(_device, "find_spec", lambda name: None)
    assert _device.soft_backend(OnCuda()) is soft_torch
    assert _device.why_not_triton(OnCuda.device) == "Triton is not installed" and not recwarn.list
