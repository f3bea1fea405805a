"""Ten kinds of shape, drawn by integer arithmetic: colour images that a small network can learn in a minute.

An image is one shape in a colour of its own on a ground of another, both drawn at random, with noise: no colour, no
place and no size tells the class. All ten look the same in a mirror, so that flips keep the label. Drawn from the raw
stream of numpy's PCG64 in integers: the same images on every platform and in every version.
"""

import numpy as np
from numpy.typing import NDArray

_SEED = 32
_NUM_CHANNELS = 3
_CONTRAST = (96, 160)  # between shape and ground, per channel, modulo 256
_NOISE = 64  # largest deviation of a pixel

_Coordinates = NDArray[np.int64]


def draw_shapes(size: int, num_images: int) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Images uint8 (N, 3, size, size) and labels int64 (N,): as many of each class, in turn.

    The first images of a longer series are not those of a shorter one.
    """
    stream = np.random.PCG64(_SEED)
    labels = np.arange(num_images) % len(SHAPES)
    radius = _uniform(stream, (num_images, 1, 1), size // 4, 3 * size // 8)
    centres = (_uniform(stream, (num_images, 1, 1), 3 * size // 8, 5 * size // 8) for _ in range(2))
    across, down = (np.arange(size).reshape(shape) - next(centres) for shape in ((1, 1, -1), (1, -1, 1)))
    inside = np.zeros((num_images, size, size), dtype=bool)
    for label, shape in enumerate(SHAPES):
        mine = labels == label
        inside[mine] = shape(across[mine], down[mine], radius[mine])
    return _coloured(stream, inside), labels


def _coloured(stream: np.random.PCG64, inside: NDArray[np.bool_]) -> NDArray[np.uint8]:
    num_images, size, _ = inside.shape
    ground = _uniform(stream, (num_images, _NUM_CHANNELS, 1, 1), 0, 255)
    drawn = (ground + _uniform(stream, ground.shape, *_CONTRAST)) % 256
    noise = _uniform(stream, (num_images, _NUM_CHANNELS, size, size), -_NOISE, _NOISE)
    return np.clip(np.where(inside[:, None], drawn, ground) + noise, 0, 255).astype(np.uint8)


def _uniform(stream: np.random.PCG64, shape: tuple[int, ...], low: int, high: int) -> _Coordinates:
    """Integers between `low` and `high`, both included; 16 random bits each leave a bias far below a grey level."""
    words = stream.random_raw(-(-int(np.prod(shape)) // 4)).astype("<u8").view("<u2")[: np.prod(shape)]
    return low + (words.astype(np.int64) * (high - low + 1) >> 16).reshape(shape)


def _square(x: _Coordinates, y: _Coordinates, r: _Coordinates) -> NDArray[np.bool_]:
    return np.maximum(abs(x), abs(y)) <= r


def _thickness(r: _Coordinates) -> _Coordinates:
    return np.maximum(r // 4, 1)


# each says which pixels, given from the centre, belong to a shape of radius r
SHAPES = (
    _square,
    lambda x, y, r: x * x + y * y <= r * r,  # disc
    lambda x, y, r: abs(x) + abs(y) <= r,  # diamond
    lambda x, y, r: _square(x, y, r) & (2 * abs(x) <= y + r),  # triangle
    lambda x, y, r: _square(x, y, r) & ~_square(x, y, r - _thickness(r)),  # frame
    lambda x, y, r: (x * x + y * y <= r * r) & (x * x + y * y > (r - _thickness(r)) ** 2),  # ring
    lambda x, y, r: _square(x, y, r) & (np.minimum(abs(x), abs(y)) <= _thickness(r)),  # plus
    lambda x, y, r: _square(x, y, r) & (abs(abs(x) - abs(y)) <= _thickness(r)),  # cross
    lambda x, y, r: _square(x, y, r) & (y // _thickness(r) % 2 == 0),  # lying bars
    lambda x, y, r: _square(x, y, r) & (abs(x) // _thickness(r) % 2 == 0),  # standing bars
)
