"""A stand-in for a CUDA graph on any machine: the operations of one call are recorded, then repeated without Python.

Like a graph it knows tensors only by where they lie: what Python decided at the recording is decided for ever, and what
is replaced instead of being changed in place is not seen again. And like a capture it refuses to ask for a value.
"""

from collections.abc import Callable
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor
from torch._ops import OpOverload
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from sparsity.training.execution import NUM_EAGER_CALLS

T = TypeVar("T")

ASKING = ("_local_scalar_dense", "nonzero", "masked_select", "_unique2", "item", "equal")


class CannotBeCaptured(RuntimeError):
    """A CUDA graph could not hold this operation."""


class Recorder(TorchDispatchMode):
    """Executes operations, and keeps each with the tensors that it read and made."""

    def __init__(self) -> None:
        super().__init__()
        self.operations: list[tuple[OpOverload, tuple[Any, ...], dict[str, Any], Any]] = []

    def __torch_dispatch__(
        self, func: OpOverload, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """One operation below autograd."""
        if func._schema.name.removeprefix("aten::") in ASKING:
            raise CannotBeCaptured(f"{func} asks the device for a value")
        leaves = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
        if len({leaf.device for leaf in leaves} | wanted_device(kwargs or {}, leaves)) > 1:
            raise CannotBeCaptured(f"{func} copies between the devices {sorted({str(leaf.device) for leaf in leaves})}")
        made = func(*args, **(kwargs or {}))
        self.operations.append((func, args, kwargs or {}, made))
        return made


def wanted_device(arguments: dict[str, Any], leaves: list[Tensor]) -> set[torch.device]:
    """Where an operation with tensors is to put its result, if it says so."""
    wanted = arguments.get("device")
    return {torch.device(wanted)} if wanted is not None and leaves else set()


class RecordedGraph(Generic[T]):
    """Has the interface of `sparsity.training.execution.Replay`."""

    def __init__(self, act: Callable[[], T], num_eager: int = NUM_EAGER_CALLS) -> None:
        self._act, self._num_eager = act, num_eager
        self._recorder: Recorder | None = None
        self._result: T
        self.num_replays = 0

    def __call__(self) -> T:
        """Act once."""
        if self._num_eager > 0:
            self._num_eager -= 1
            return self._act()
        if self._recorder is None:
            self._recorder = Recorder()
            with self._recorder:
                self._result = self._act()
            return self._result
        self.num_replays += 1
        for func, args, kwargs, made in self._recorder.operations:
            repeat(func, args, kwargs, made)
        return self._result


@torch.no_grad()
def repeat(func: OpOverload, args: tuple[Any, ...], kwargs: dict[str, Any], made: Any) -> None:
    """Execute an operation on the tensors of its recording; what it makes goes to where that lay."""
    again = func(*args, **kwargs)
    changes = any(argument.alias_info is not None for argument in func._schema.arguments)  # a view, or in place
    for old, new in zip(tree_leaves(made), tree_leaves(again), strict=True):
        if isinstance(old, Tensor) and not changes:
            old.detach().copy_(new)
