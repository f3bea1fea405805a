"""Processes that decode images for this one, so that its lock is free for the thread that launches a GPU's kernels.

They are this module itself, run as a program, and not multiprocessing's, which would import the user's script in each;
without torch one starts in 0.2 s of a core and takes 35 MB. A request is pickled; the answer is a byte for each image,
1 where it was read, and then the pixels of all, which go from the socket into the batch without a further copy.
"""

import os
import pickle
import signal
import socket
import subprocess
import sys
import weakref
from contextlib import suppress
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sparsity.data.images.decoding import ChooseCrop, read

Request = tuple[list[Path], list[int], ChooseCrop | None]  # files, the indices of their images, and how to crop these
# a run that is asked to end reads on until its step is done, and the request may go to all of its processes
_NOT_ITS_OWN = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1)


class DecoderError(Exception):
    """A process that decodes could not be started or ended before its time; the message is the reason."""


class Decoders:
    """As many processes as are asked at the same time, each started when it is needed; they end with this object.

    Args:
        size: of the square images that the network takes, in pixels.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._idle: list[_Decoder] = []
        self._started: list[_Decoder] = []
        weakref.finalize(self, _end, self._started)  # at the interpreter's end too

    def fill(self, request: Request, pixels: NDArray[np.uint8]) -> bytes:
        """Write images into `pixels` (B, size, size, 3), which lies in one piece; 1 for each that was read, else 0.

        Raises:
            DecoderError: the process cannot be started, or was killed.
        """
        try:
            decoder = self._idle.pop()
        except IndexError:
            decoder = _Decoder(self._size)
            self._started.append(decoder)
        is_read = decoder.fill(request, pixels)
        self._idle.append(decoder)
        return is_read


class _Decoder:
    """One process and the socket to it, whose end it takes for that of its parent, however that came."""

    def __init__(self, size: int) -> None:
        self.socket, other = socket.socketpair()
        paths = os.pathsep.join(filter(None, sys.path))
        with other:
            blocked = signal.pthread_sigmask(signal.SIG_BLOCK, _NOT_ITS_OWN)  # inherited, from the first moment on
            try:
                self.process = subprocess.Popen(
                    [sys.executable, "-P", "-m", __name__, str(other.fileno()), str(size)],
                    env={**os.environ, "PYTHONPATH": paths, "OMP_NUM_THREADS": "1"},
                    stdin=subprocess.DEVNULL,
                    pass_fds=[other.fileno()],
                )
            except OSError as error:
                self.socket.close()
                raise DecoderError(f"could not be started ({error.strerror})") from error
            finally:
                signal.pthread_sigmask(signal.SIG_SETMASK, blocked)

    def fill(self, request: Request, pixels: NDArray[np.uint8]) -> bytes:
        is_read = bytearray(len(pixels))
        message = pickle.dumps(request)
        try:
            self.socket.sendall(message)
            self._receive(memoryview(is_read))
            self._receive(pixels.data.cast("B"))
        except OSError as error:
            raise DecoderError(f"ended with status {self.process.wait()}") from error
        return bytes(is_read)

    def _receive(self, place: memoryview) -> None:
        while place:  # once, unless a signal interrupts: each return asks for Python's lock
            num_bytes = self.socket.recv_into(place, 0, socket.MSG_WAITALL)
            if not num_bytes:
                raise ConnectionResetError
            place = place[num_bytes:]


def _end(decoders: list[_Decoder]) -> None:
    for decoder in decoders:
        decoder.socket.close()
        decoder.process.kill()
    for decoder in decoders:
        decoder.process.wait()


def serve(connection: socket.socket, size: int) -> None:
    """Answer requests until the other side is gone."""
    with connection.makefile("rb") as requests, suppress(EOFError, pickle.UnpicklingError, ConnectionError):
        while True:
            paths, indices, choose = pickle.load(requests)
            pixels, is_read = np.empty((len(paths), size, size, 3), np.uint8), bytearray(len(paths))
            for place, (path, index) in enumerate(zip(paths, indices, strict=True)):
                with suppress(Exception):  # who asked tries again, and meets the fault where it can be told
                    pixels[place] = read(path, index, choose, size)
                    is_read[place] = 1
            connection.sendall(is_read)
            connection.sendall(pixels.data)


if __name__ == "__main__":
    serve(socket.socket(fileno=int(sys.argv[1])), int(sys.argv[2]))
