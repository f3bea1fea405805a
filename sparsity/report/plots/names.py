"""Names beside the marks of a figure, so that none hides another, a mark, or leaves the figure."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.text import Annotation, Text
from matplotlib.transforms import Bbox

SIZE = 7  # points, of the letters
MARK = 4  # points, from the middle of a mark to its edge, about
PLACES = [
    (dx * distance, dy * distance, across, along)
    for distance in (5, 8, 12, 16, 22, 30)
    for dx, dy, across, along in (
        (1, 1, "left", "bottom"),
        (-1, 1, "right", "bottom"),
        (1, -1, "left", "top"),
        (-1, -1, "right", "top"),
        (0, 1.4, "center", "bottom"),
        (0, -1.4, "center", "top"),
    )
]
"""Where a name may stand, in points from its mark, the best first; farther off it has a line to it."""
FAR = 9  # points, from where on


Point = tuple[float, float]  # in pixels


@dataclass(frozen=True)
class Named:
    """A mark at data coordinates and what it is called."""

    x: float
    y: float
    name: str
    colour: str


def put_names(axes: Axes, marks: Sequence[Named]) -> None:
    """Write each mark's name at the first place that is free; where none is, at the nearest.

    Call it when the axes have their limits and all marks: the places depend on both.
    """
    axes.get_figure(root=True).draw_without_rendering()  # type: ignore[union-attr]
    points = [(float(x), float(y)) for x, y in axes.transData.transform([(mark.x, mark.y) for mark in marks])]
    reach = MARK * axes.figure.dpi / 72
    taken = [Bbox.from_extents(x - reach, y - reach, x + reach, y + reach) for x, y in points]
    for mark, point in zip(marks, points, strict=True):
        others = [other for other in points if other != point]
        taken.append(_put(axes, mark, point, others, taken))


def _put(axes: Axes, mark: Named, point: Point, others: Sequence[Point], taken: Sequence[Bbox]) -> Bbox:
    """Write one name, and return the room that it takes."""
    tried: list[tuple[float, int]] = []
    for place in PLACES:
        annotation = _annotate(axes, mark, *place)
        box = _letters(annotation)
        fault = sum(_common_area(box, other) for other in taken) + _outside(box, axes.bbox)
        if max(map(abs, place[:2])) <= FAR and any(_distance(box, of) < _distance(box, point) for of in others):
            fault += box.width * box.height  # it would seem to be another's
        if fault == 0:
            return box
        annotation.remove()
        tried.append((fault, len(tried)))
    return _letters(_annotate(axes, mark, *PLACES[min(tried)[1]]))


def _annotate(axes: Axes, mark: Named, dx: float, dy: float, across: str, along: str) -> Annotation:
    line = {"arrowstyle": "-", "color": mark.colour, "linewidth": 0.4, "shrinkA": 0, "shrinkB": 2}
    return axes.annotate(
        mark.name, (mark.x, mark.y), (dx, dy), textcoords="offset points", fontsize=SIZE, color=mark.colour,
        horizontalalignment=across, verticalalignment=along, arrowprops=line if max(abs(dx), abs(dy)) > FAR else None,
    )  # fmt: skip


def _letters(annotation: Annotation) -> Bbox:
    """The room of the letters alone, without the line."""
    annotation.get_window_extent()  # puts them where they belong
    return Text.get_window_extent(annotation)


def _common_area(one: Bbox, other: Bbox) -> float:
    common = Bbox.intersection(one, other)
    return 0.0 if common is None else common.width * common.height


def _outside(box: Bbox, frame: Bbox) -> float:
    return box.width * box.height - _common_area(box, frame)


def _distance(box: Bbox, point: Point) -> float:
    """From a box to a point outside it."""
    x, y = point
    return math.hypot(max(box.x0 - x, 0.0, x - box.x1), max(box.y0 - y, 0.0, y - box.y1))
