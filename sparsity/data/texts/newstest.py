"""The places of the 2,737 sentences of newstest2014 En-De's filtered test set among its 3,003.

WMT released the test set of 2014 twice: filtered, on which its systems were judged, and in full afterwards. Stanford's
release, and with it most papers of the time, has the filtered one. It lacks whole documents: these lines.
"""

NAME = "newstest2014_2737"
NUM_FULL = 3_003

# First and last of each run of lines, from 0, in the order of the full release.
_LEFT_OUT = (
    *((161, 167), (581, 610), (629, 647), (743, 784), (865, 882), (969, 977)),
    *((1000, 1009), (1100, 1107), (1225, 1245), (1435, 1454), (1553, 1567), (2230, 2296)),
)


def filtered() -> list[int]:
    """The lines of the full set, from 0 and ascending, that stand in the filtered one."""
    left_out = {line for first, last in _LEFT_OUT for line in range(first, last + 1)}
    return [line for line in range(NUM_FULL) if line not in left_out]
