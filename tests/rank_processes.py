"""Several ranks as processes of their own, forked from this one, which spares them the import of torch."""

import multiprocessing
import os
import socket
import traceback
import warnings
from collections.abc import Callable
from multiprocessing.connection import Connection, wait
from typing import Any, TypeVar

from sparsity.hardware import ranks

T = TypeVar("T")


def free_port() -> int:
    """A port of this machine that nobody uses."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
    return port


def forked(size: int, act: Callable[[], T]) -> list[T]:
    """What `act` gives on each of `size` ranks, joined by gloo; where one fails all are ended, and its words raised."""
    context, port, pipes, processes = multiprocessing.get_context("fork"), free_port(), [], []
    for rank in range(size):
        ours, theirs = context.Pipe(duplex=False)
        process = context.Process(target=_join, args=(rank, size, port, act, theirs))
        with warnings.catch_warnings(action="ignore", category=DeprecationWarning):  # of forks beside threads
            process.start()
        theirs.close()
        pipes.append(ours)
        processes.append(process)
    try:
        return _answers(pipes)
    finally:
        for process in processes:
            process.kill()
            process.join()


def _join(rank: int, size: int, port: int, act: Callable[[], Any], answer: Connection) -> None:
    place = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": size, "LOCAL_WORLD_SIZE": size}
    os.environ.update(
        {name: str(value) for name, value in place.items()}, MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port)
    )
    try:
        with ranks.joined(on_gpus=False):
            result = act()
        answer.send((True, result))
    except BaseException:
        answer.send((False, traceback.format_exc()))
        raise


def _answers(pipes: "list[Connection]") -> list[Any]:
    found: dict[int, Any] = {}
    while len(found) < len(pipes):
        ready = wait([pipe for rank, pipe in enumerate(pipes) if rank not in found], timeout=120)
        assert ready, "no process answers"
        for rank in (rank for rank, pipe in enumerate(pipes) if pipe in ready):
            is_well, found[rank] = pipes[rank].recv()
            assert is_well, found[rank]
    return [found[rank] for rank in range(len(pipes))]
