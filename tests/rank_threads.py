"""Several ranks as threads of this process, which meet where real ones would send each other messages."""

from collections.abc import Callable, Sequence
from threading import Barrier, BrokenBarrierError, Thread
from typing import Any, TypeVar

from torch import Tensor

from sparsity.hardware.ranks import Ranks, acting_as

T = TypeVar("T")


class Meeting:
    """Where `size` threads exchange values; if one of them fails, all do."""

    def __init__(self, size: int) -> None:
        self.barrier = Barrier(size, timeout=60)
        self.values: list[Any] = [None] * size

    def exchange(self, rank: int, value: Any) -> list[Any]:
        self.values[rank] = value
        self.barrier.wait()
        found = list(self.values)
        self.barrier.wait()
        return found


class ThreadRanks(Ranks):
    """One of the threads."""

    def __init__(self, rank: int, size: int, meeting: Meeting) -> None:
        self.rank, self.size, self._meeting = rank, size, meeting

    def sum_(self, tensor: Tensor) -> Tensor:
        """In the order of the ranks, so that all have the same bits."""
        first, *others = self._meeting.exchange(self.rank, tensor.clone())
        for other in others:
            first = first + other
        return tensor.copy_(first)

    def highest(self, numbers: Sequence[int]) -> list[int]:
        """Of each number."""
        return [max(of) for of in zip(*self._meeting.exchange(self.rank, numbers), strict=True)]

    def gather(self, value: T) -> list[T]:
        """As they are."""
        return self._meeting.exchange(self.rank, value)


def together(size: int, act: Callable[[int], T]) -> list[T]:
    """What `act`, told its rank, gives on each of `size` ranks; the first error of any is raised."""
    meeting, results, errors = Meeting(size), [None] * size, []

    def run(rank: int) -> None:
        try:
            with acting_as(ThreadRanks(rank, size, meeting)):
                results[rank] = act(rank)  # type: ignore[call-overload]
        except BaseException as error:
            errors.append(error)
            meeting.barrier.abort()

    threads = [Thread(target=run, args=(rank,)) for rank in range(size)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for error in sorted(errors, key=lambda error: isinstance(error, BrokenBarrierError)):
        raise error
    return results  # type: ignore[return-value]
