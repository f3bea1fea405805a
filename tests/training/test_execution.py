"""Does a capture begin with nothing left to free? On any machine, by stand-ins for torch's streams and graphs."""

import gc
import weakref
from contextlib import nullcontext
from typing import Any

import pytest
import torch

from sparsity.training import execution
from sparsity.training.execution import CaptureError, Replay


class Stream:
    def wait_stream(self, other: "Stream") -> None:
        """Nothing: all is done at once."""


class Graph:
    num_replays = 0

    def replay(self) -> None:
        self.num_replays += 1


class Cycle:
    """What only the garbage collector frees."""

    def __init__(self) -> None:
        self.own = self


@pytest.fixture(autouse=True)
def without_cuda(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(execution, "_side_stream", Stream)
    monkeypatch.setattr(torch.cuda, "current_stream", Stream)
    monkeypatch.setattr(torch.cuda, "stream", nullcontext)
    monkeypatch.setattr(torch.cuda, "CUDAGraph", Graph)


def test_what_lies_in_cycles_is_gone_before_a_capture_begins(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[object] = []

    def begin(graph: Graph, stream: Stream) -> Any:
        seen.append(garbage())
        return nullcontext()

    monkeypatch.setattr(torch.cuda, "graph", begin)
    gc.disable()
    try:
        garbage = weakref.ref(Cycle())
        assert garbage() is not None
        Replay(lambda: None, num_eager=0)()
    finally:
        gc.enable()
    assert seen == [None]


def test_a_function_is_called_a_few_times_then_captured_then_replayed(monkeypatch: pytest.MonkeyPatch) -> None:
    graphs: list[Graph] = []

    def begin(graph: Graph, stream: Stream) -> Any:
        graphs.append(graph)
        return nullcontext()

    monkeypatch.setattr(torch.cuda, "graph", begin)
    calls: list[None] = []
    replay = Replay(lambda: calls.append(None), num_eager=2)
    for _ in range(6):
        replay()
    assert len(calls) == 2 + 1  # the third records and executes nothing
    assert [graph.num_replays for graph in graphs] == [4]


def test_a_capture_that_fails_in_a_run_says_how_to_go_on_without_graphs(monkeypatch: pytest.MonkeyPatch) -> None:
    def begin(graph: Graph, stream: Stream) -> Any:
        raise torch.OutOfMemoryError("CUDA out of memory.\nAnd a long story.")

    monkeypatch.setattr(torch.cuda, "graph", begin)
    sentence = r"failed \(CUDA out of memory\); the same command with machine.capture=false goes on from the last"
    with pytest.raises(CaptureError, match=sentence):
        Replay(lambda: None, num_eager=0)()
