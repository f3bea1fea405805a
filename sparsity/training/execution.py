"""How a step is executed, precision, fusion and CUDA graphs: they change speed and rounding, never the algorithm."""

import functools
import gc
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Generic, TypeVar

import torch

T = TypeVar("T")

NUM_EAGER_CALLS = 3  # lazy initialisation, the optimiser's state and compilation happen in these


class CaptureError(ValueError):
    """A CUDA graph could not be captured; what follows in this process may fail too."""


@dataclass(frozen=True)
class Execution:
    """What the machine is to do with a step.

    bf16: products in bfloat16 by autocast; weights, their gradients and the optimiser stay float32.
    compile: fuse by torch.compile nothing (`none`), the gradient edits (`edits`) or the network too (`all`).
    capture: replay steps as CUDA graphs. compact: leave units out that pruning has cut off.
    """

    bf16: bool = False
    compile: str = "none"
    capture: bool = False
    compact: bool = False

    def precision(self, device: torch.device) -> AbstractContextManager[object]:
        """The context in which a network is to be called."""
        return torch.autocast(device.type, torch.bfloat16) if self.bf16 else nullcontext()


class Replay(Generic[T]):
    """A function that works in place on fixed tensors, called a few times, then captured as a CUDA graph.

    From then on a call replays the graph, one launch for all kernels, and returns the same tensors with new values. The
    function must not ask the device for a value, and what it reads must be changed in place.

    Args:
        act: the function; Python branches in it are taken once and for all at the capture.
        num_eager: calls before the capture, on the stream of all captures, so that autograd's nodes belong to it.

    Raises:
        CaptureError: when called, if the capture fails.
    """

    def __init__(self, act: Callable[[], T], num_eager: int = NUM_EAGER_CALLS) -> None:
        self._act, self._num_eager = act, num_eager
        self._stream = _side_stream()
        self._graph: torch.cuda.CUDAGraph | None = None
        self._result: T

    def __call__(self) -> T:
        """Act once."""
        if self._num_eager > 0:
            self._num_eager -= 1
            return self._eagerly()
        if self._graph is None:
            self._graph = self._captured()
        self._graph.replay()
        return self._result

    def _captured(self) -> torch.cuda.CUDAGraph:
        """The graph of one call, which records and executes nothing."""
        graph = torch.cuda.CUDAGraph()
        gc.collect()  # what lies in cycles must not be freed during the capture, which that would break
        try:
            with torch.cuda.graph(graph, stream=self._stream):
                self._result = self._act()
        except RuntimeError as error:
            reason = str(error).strip().partition("\n")[0].rstrip(".")
            raise CaptureError(
                f"The capture of a step or an evaluation as a CUDA graph failed ({reason}); the same command with "
                "machine.capture=false goes on from the last checkpoint without graphs."
            ) from error
        return graph

    def _eagerly(self) -> T:
        self._stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(self._stream):
            result = self._act()
        torch.cuda.current_stream().wait_stream(self._stream)
        return result


@functools.cache
def _side_stream() -> torch.cuda.Stream:
    """The stream of all captures: two graphs of the same weights share autograd's nodes."""
    return torch.cuda.Stream()
