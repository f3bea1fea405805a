"""Names beside marks: none hides another, and none seems to be another's."""

import matplotlib
from matplotlib.figure import Figure as Drawing
from matplotlib.text import Annotation, Text

from sparsity.report.plots.names import Named, put_names

matplotlib.use("agg")


def test_names_of_near_marks_do_not_overlap_and_stay_inside() -> None:
    drawing = Drawing(figsize=(5, 4), layout="constrained")
    axes = drawing.subplots()
    marks = [Named(0.4 + 0.08 * i, 1 + 0.02 * (i % 2), f"method {i}", "black") for i in range(8)]
    axes.plot([mark.x for mark in marks], [mark.y for mark in marks], "o")
    axes.set_xlim(0, 1.2)
    axes.set_ylim(0.5, 1.5)
    put_names(axes, marks)
    drawing.draw_without_rendering()
    found = [text for text in axes.texts if isinstance(text, Annotation)]
    assert [text.get_text() for text in found] == [mark.name for mark in marks]
    boxes = [Text.get_window_extent(text) for text in found]  # without the lines to the marks
    assert not [(i, j) for i, one in enumerate(boxes) for j, other in enumerate(boxes) if i < j and one.overlaps(other)]
    assert all(box.x1 <= axes.bbox.x1 and box.y0 >= axes.bbox.y0 for box in boxes)


def test_a_name_alone_stands_at_the_upper_right_of_its_mark() -> None:
    axes = Drawing().subplots()
    axes.plot([0.5], [0.5], "o")
    put_names(axes, [Named(0.5, 0.5, "alone", "black")])
    (text,) = axes.texts
    assert (text.get_horizontalalignment(), text.get_verticalalignment()) == ("left", "bottom")
