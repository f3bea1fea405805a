"""Which of several processes this one is that train one network together, its rank, and what they tell each other.

`torchrun --nproc-per-node N scripts/train.py ...` starts N of them. Each holds the whole network and computes on its
part of every batch; what is summed over all ranks makes their networks stay the same, bit for bit. A process by itself
has rank 0 of 1: it asks nobody, and does without torch.distributed.
"""

import math
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import timedelta
from itertools import islice
from typing import TYPE_CHECKING, Any, Protocol, TypeVar, runtime_checkable

if TYPE_CHECKING:
    from torch import Tensor

T = TypeVar("T")
Item = TypeVar("Item", covariant=True)

LONGEST_WAIT = timedelta(days=7)  # of the others for rank 0, which fetches data, or waits for another run's baseline


@dataclass(frozen=True)
class Part:
    """What a rank computes of the micro-batches of a step.

    Of every `stride`-th from `first` on it has every `size`-th example from `place` on: whole micro-batches, as far as
    there are enough of them.
    """

    first: int = 0
    stride: int = 1
    place: int = 0
    size: int = 1

    @property
    def examples(self) -> slice:
        """Of a micro-batch."""
        return slice(self.place, None, self.size)

    def check(self, batch_size: int) -> None:
        """Hold a micro-batch to have an example for each rank that shares it.

        Raises:
            ValueError: if it has fewer.
        """
        if self.size > batch_size:
            raise ValueError(
                f"{self.size} processes cannot share a batch of {batch_size} examples: start fewer, or raise the "
                "phase's batch_size."
            )


@runtime_checkable
class Shareable(Protocol[Item]):
    """Items of which one rank can have its share without the work for those of others."""

    def share(self, place: int, size: int) -> Iterable[Item]:
        """The share `place` of `size` that together are all items."""
        ...


class Ranks:
    """A process by itself."""

    rank = 0
    size = 1

    @property
    def is_first(self) -> bool:
        """Whether this is the one that writes: files, W&B and the terminal."""
        return self.rank == 0

    def sum_(self, tensor: "Tensor") -> "Tensor":
        """The sum over all ranks, in place: of tensors of one shape on the ranks' devices."""
        return tensor

    def highest(self, numbers: Sequence[int]) -> list[int]:
        """The highest that any rank has, of each number."""
        return list(numbers)

    def gather(self, value: T) -> list[T]:
        """The plain values of all ranks, in their order; nobody goes on before all have come here."""
        return [value]

    def mean_(self, tensors: "Sequence[Tensor]") -> None:
        """The means over all ranks, in place, in one message."""
        if self.size == 1:
            return
        import torch

        flat = self.sum_(torch.cat([tensor.reshape(-1) for tensor in tensors])).div_(self.size)
        for tensor, mean in zip(tensors, flat.split([tensor.numel() for tensor in tensors]), strict=True):
            tensor.copy_(mean.view(tensor.shape))

    def of_first(self, value: T) -> T:
        """The plain value that rank 0 has."""
        return self.gather(value if self.is_first else None)[0]  # type: ignore[return-value]

    def first(self, act: Callable[[], T]) -> T:
        """What rank 0 gets from acting, which it alone does while the others wait; if it fails, they end."""
        has_failed, result = True, None
        try:
            result = act() if self.is_first else None
            has_failed = False
        finally:
            has_failed, result = self.gather((has_failed, result))[0]
        if has_failed:
            raise SystemExit(1)  # rank 0 says why
        return result  # type: ignore[return-value]

    def in_turn(self, act: Callable[[], T]) -> T:
        """What this rank gets from acting: rank 0 does so first, then the others, and all go on together."""
        found: list[T] = []
        self.first(lambda: found.append(act()))
        if not self.is_first:
            found.append(act())
        self.gather(None)
        return found[0]

    def check_equal(self, value: object, what: str) -> None:
        """Hold a plain value to be the same on all ranks.

        Raises:
            ValueError: on all of them, saying `what` differs.
        """
        values = self.gather(value)
        odd = [rank for rank, other in enumerate(values) if other != values[0]]
        if odd:
            raise ValueError(f"{what} of rank {odd[0]} differ from those of rank 0: they cannot go on together.")

    def share(self, items: Iterable[T]) -> Iterable[T]:
        """This rank's share of what all ranks have."""
        if self.size == 1:
            return items
        if isinstance(items, Shareable):
            return items.share(self.rank, self.size)
        return islice(items, self.rank, None, self.size)

    def part(self, num_micro_batches: int) -> Part:
        """What this rank computes of a step of so many micro-batches."""
        stride = math.gcd(num_micro_batches, self.size)
        return Part(self.rank % stride, stride, self.rank // stride, self.size // stride)


class Group(Ranks):
    """One of the processes that torch.distributed has joined: gloo between CPUs, NCCL between GPUs."""

    def __init__(self) -> None:
        import torch.distributed

        self._distributed: Any = torch.distributed
        self.rank, self.size = torch.distributed.get_rank(), torch.distributed.get_world_size()

    def sum_(self, tensor: "Tensor") -> "Tensor":
        """The sum over all ranks, the same bits on each."""
        self._distributed.all_reduce(tensor)
        return tensor

    def highest(self, numbers: Sequence[int]) -> list[int]:
        """Between CPUs, so that no device is waited for."""
        import torch

        found = torch.tensor(numbers)
        self._distributed.all_reduce(found, self._distributed.ReduceOp.MAX)
        return found.tolist()

    def gather(self, value: T) -> list[T]:
        """Pickled, between CPUs."""
        values: list[T] = [value] * self.size
        self._distributed.all_gather_object(values, value)
        return values


_HERE: ContextVar[Ranks] = ContextVar("ranks", default=Ranks())  # noqa: B039  # it has no state


def here() -> Ranks:
    """This process among those it works with."""
    return _HERE.get()


def number_launched() -> int:
    """How many processes torchrun, or submitit for a job of several tasks, has started for this run."""
    if "SUBMITIT_EXECUTOR" in os.environ and "WORLD_SIZE" not in os.environ:
        from submitit.helpers import TorchDistributedEnvironment  # there, as it has started this process

        TorchDistributedEnvironment().export(set_cuda_visible_devices=False)
    return int(os.environ.get("WORLD_SIZE", "1")) if "RANK" in os.environ else 1


def check_launch(has_several_runs: bool) -> None:
    """Refuse processes that were started together for several runs.

    Raises:
        ValueError: if these are such.
    """
    if has_several_runs and number_launched() > 1 and "SUBMITIT_EXECUTOR" not in os.environ:
        raise ValueError(
            "torchrun trains one run: leave out -m and sweep=, or start several runs, each on GPUs of its own, by "
            "hydra/launcher=processes or slurm_ranks."
        )


def is_first() -> bool:
    """Whether this process is not one of several, or the first of them, also before they are joined."""
    return number_launched() == 1 or os.environ["RANK"] == "0"


def number_on_this_machine() -> int:
    """How many of the processes that were launched together share this machine's cores."""
    return int(os.environ["LOCAL_WORLD_SIZE"]) if number_launched() > 1 else 1


def own_place(num_gpus: int) -> int:
    """Which of this machine's GPUs is this process's.

    Raises:
        ValueError: if there is not one for each.
    """
    num_here = number_on_this_machine()
    if num_here > num_gpus:
        raise ValueError(
            f"{num_here} processes were started where {num_gpus} of the GPUs can be seen: start one for each GPU, "
            "torchrun --nproc-per-node N."
        )
    return int(os.environ["LOCAL_RANK"])


@contextmanager
def acting_as(ranks: Ranks) -> Iterator[Ranks]:
    """While it lasts, this thread is one of `ranks`."""
    token = _HERE.set(ranks)
    try:
        yield ranks
    finally:
        _HERE.reset(token)


@contextmanager
def joined(on_gpus: bool) -> Iterator[Ranks]:
    """While it lasts, the processes that were launched together work together; one alone stays as it is."""
    if number_launched() == 1:
        yield here()
        return
    import torch.distributed

    backend = "cpu:gloo,cuda:nccl" if on_gpus else "gloo"
    torch.distributed.init_process_group(backend, timeout=LONGEST_WAIT)
    with acting_as(Group()) as group:
        try:
            yield group
        except SystemExit:  # the end of all, which none may see before rank 0 has written what there is
            with suppress(RuntimeError):  # rank 0 has failed, and is gone
                group.gather(None)
            raise
    torch.distributed.destroy_process_group()  # not after an error: it might wait for those that have none
