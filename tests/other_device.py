"""A device that is not the CPU, for machines that have none.

Its tensors say that they are on torch's ``meta`` device, which autograd takes for a device of its own, while their
numbers are on the CPU, where every operation is carried out. As on a GPU, an operation that mixes both devices fails,
and so does ``numpy()``. What happens is counted: operations, waits for the device, and the bytes of tensors alive.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map_only

DEVICE = "meta"
_MOVES = ("_to_copy", "copy_")
_WAITS = ("_local_scalar_dense", "equal", "nonzero", "is_nonzero", "_unique2", "unique_dim", "masked_select")


class OtherDevice(TorchDispatchMode):
    """While it is active, ``tensor.to(DEVICE)`` and ``torch.zeros(..., device=DEVICE)`` give tensors of the device."""

    def __init__(self) -> None:
        super().__init__()
        self.operations: Counter[str] = Counter()
        self.bytes = 0
        self.most_bytes = 0
        self._alive: Counter[int] = Counter()  # tensors of each storage

    @property
    def waits(self) -> int:
        return sum(self.operations[name] for name in _WAITS)

    def forget(self) -> None:
        """Count from here on."""
        self.operations.clear()
        self.most_bytes = self.bytes

    def __torch_dispatch__(self, function: Any, types: Any, arguments: Any = (), options: Any = None) -> Any:
        options = dict(options or {})
        name = function._schema.name.split("::")[1]
        given = [leaf for leaf in tree_leaves((arguments, options)) if isinstance(leaf, Tensor)]
        there = [tensor for tensor in given if isinstance(tensor, _There)]
        target = None if options.get("device") is None else torch.device(options["device"]).type
        if not there and target != DEVICE:
            return function(*arguments, **options)
        if name not in _MOVES and any(tensor.ndim > 0 for tensor in given if not isinstance(tensor, _There)):
            raise RuntimeError(f"{name}: expected all tensors to be on the same device.")
        self.operations[name] += 1
        if target == DEVICE:
            options["device"] = "cpu"
        arguments, options = tree_map_only(_There, lambda tensor: tensor.numbers, (arguments, options))
        result = function(*arguments, **options)
        if target == "cpu":
            return result
        known = {id(tensor.numbers): tensor for tensor in there}  # operations in place return what they were given
        return tree_map_only(
            Tensor, lambda tensor: known[id(tensor)] if id(tensor) in known else _There(tensor, self), result)

    def _born(self, numbers: Tensor) -> None:
        storage = numbers.untyped_storage()
        self._alive[storage.data_ptr()] += 1
        if self._alive[storage.data_ptr()] == 1:
            self.bytes += storage.nbytes()
            self.most_bytes = max(self.most_bytes, self.bytes)

    def _died(self, numbers: Tensor) -> None:
        storage = numbers.untyped_storage()
        self._alive[storage.data_ptr()] -= 1
        if self._alive[storage.data_ptr()] == 0:
            self.bytes -= storage.nbytes()


class _There(Tensor):
    numbers: Tensor
    mode: OtherDevice

    @staticmethod
    def __new__(cls, numbers: Tensor, mode: OtherDevice) -> _There:
        wrapper = Tensor._make_wrapper_subclass(
            cls, numbers.shape, strides=numbers.stride(), storage_offset=numbers.storage_offset(), dtype=numbers.dtype,
            device=torch.device(DEVICE))
        wrapper.numbers, wrapper.mode = numbers, mode
        mode._born(numbers)
        return wrapper

    def __init__(self, numbers: Tensor, mode: OtherDevice) -> None: ...

    def __del__(self) -> None:
        self.mode._died(self.numbers)

    def __repr__(self) -> str:
        return f"{self.numbers!r} on {DEVICE}"

    __torch_function__ = torch._C._disabled_torch_function_impl

    @classmethod
    def __torch_dispatch__(cls, function: Any, types: Any, arguments: Any = (), options: Any = None) -> Any:
        mode = next(tensor.mode for tensor in tree_leaves((arguments, options)) if isinstance(tensor, _There))
        return mode.__torch_dispatch__(function, types, arguments, options)
