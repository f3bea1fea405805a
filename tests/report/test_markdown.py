"""Blocks as markdown."""

from sparsity.report.blocks import Figure, Folded, Heading, Prose, Rendering, anchor, figures, table
from sparsity.report.markdown import render_markdown


def never_drawn() -> Rendering:
    raise AssertionError("markdown names a figure's file and needs no drawing")


def test_bars_and_line_breaks_do_not_break_a_table() -> None:
    assert render_markdown([table(["a"], [["x|y\nz"]])]).splitlines()[-1] == "| x\\|y z |"


def test_blocks_are_parted_by_blank_lines() -> None:
    assert render_markdown([Heading(2, "Title"), Prose("Text.")]) == "## Title\n\nText.\n"


def test_a_figure_is_an_image_with_its_caption_below() -> None:
    text = render_markdown([Figure("lenet/frontier", "What it shows.", never_drawn)])
    assert text == "![What it shows.](figures/lenet/frontier.svg)\n\n*What it shows.*\n"


def test_a_fold_hides_its_blocks_behind_its_summary() -> None:
    text = render_markdown([Folded("More", (Prose("Text."),))])
    assert text == "<details><summary>More</summary>\n\nText.\n\n</details>\n"


def test_an_anchor_is_what_github_makes_of_a_heading() -> None:
    assert anchor("3. LeNet-5 on `x_y`, not (the) prose?") == "3-lenet-5-on-x_y-not-the-prose"


def test_figures_inside_folds_are_found() -> None:
    inner = Figure("b", "", never_drawn)
    assert figures([Prose("x"), Folded("More", (inner,))]) == [inner]
