"""How every figure looks: size, colours for light and dark, and the same bytes at each regeneration.

A figure is drawn in the light colours. In its SVG each colour of the palette becomes a CSS variable with that colour as
fallback, so that a page, or the style inside the file itself, can give the dark one.
"""

import io
import re
from collections.abc import Callable, Sequence
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Drawing

from sparsity.report.blocks import Figure, Rendering
from sparsity.report.configurations import Configuration
from sparsity.report.plots.svg import cleaned

WIDTH, PANEL_HEIGHT = 5.0, 2.9  # inches: two of them stand side by side on a wide screen, and a phone shows one legibly
PNG_DOTS_PER_INCH = 120
LEGEND_WIDTH, LEGEND_HANDLE = 76, 6  # in letters: a line of a legend, and the line drawn before each label

# Between the parts of a label, each with what stands before it; brackets are one part, commas in them too.
LABEL_PARTS = re.compile(r"(?=, (?![^(]*\)))|(?= \()")

# name -> (light, dark); all light colours differ, because the SVG is searched for them
PALETTE = {
    "surface": ("#ffffff", "#0d1117"),
    "ink": ("#1f2328", "#e6edf3"),
    "muted": ("#6e7781", "#8b949e"),
    "grid": ("#d8dee4", "#30363d"),
    "paper": ("#bc4c00", "#f0883e"),
    "relevance": ("#0969da", "#58a6ff"),
    "l2": ("#1a7f37", "#3fb950"),
    "magnitude": ("#8250df", "#bc8cff"),
    "l1": ("#bf3989", "#f778ba"),
    "teal": ("#1b7c83", "#39c5cf"),
    "ochre": ("#9a6700", "#d29922"),
    "rose": ("#cf222e", "#ff7b72"),
}
INK, MUTED, GRID, PAPER = (PALETTE[name][0] for name in ("ink", "muted", "grid", "paper"))
PLATE = {"facecolor": PALETTE["surface"][0], "edgecolor": "none", "pad": 0.8}  # behind words that lines would cross
SERIES = [PALETTE[name][0] for name in ("relevance", "l2", "magnitude", "l1", "teal", "ochre", "rose")]

_RC: dict[Any, Any] = {
    "font.size": 10,
    "axes.titlesize": 10,
    "axes.labelsize": 10,
    "xtick.labelsize": 9,
    "ytick.labelsize": 9,
    "legend.fontsize": 9,
    "legend.frameon": False,
    "legend.title_fontsize": 9,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": MUTED,
    "axes.facecolor": "none",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": GRID,
    "axes.axisbelow": True,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "lines.linewidth": 1.4,
    "svg.fonttype": "none",
}


def new_drawing(heights: Sequence[float] = (1.0,), share_x: bool = False) -> tuple[Drawing, list[Axes]]:
    """An empty drawing with panels below each other, their heights in units of one panel's."""
    drawing = Drawing(figsize=(WIDTH, PANEL_HEIGHT * sum(heights)), layout="constrained", facecolor="none")
    axes = drawing.subplots(len(heights), 1, sharex=share_x, squeeze=False, height_ratios=list(heights))
    return drawing, [row[0] for row in axes]


def colours(configurations: Sequence[Configuration]) -> list[str]:
    """One colour per configuration: its pruner's own for the first of each pruner, spare ones for the others."""
    taken: list[str] = []
    for ours in configurations:
        own = PALETTE.get(ours.first.pruner, PALETTE["teal"])[0]
        spare = [colour for colour in reversed(SERIES) if colour not in taken]
        taken.append(own if own not in taken else next(iter(spare), MUTED))
    return taken


def labels(configurations: Sequence[Configuration]) -> list[str]:
    """One label per configuration: without what all share, and with the fingerprint where they would not differ."""
    short, _ = _split(configurations)
    return [
        label.replace(ours.first.pruner, ours.short_name, 1) if short.count(label) > 1 else label
        for ours, label in zip(configurations, short, strict=True)
    ]


def shared(configurations: Sequence[Configuration]) -> str:
    """What `labels` leaves out, as all configurations have it, in words; empty where nothing."""
    _, common = _split(configurations)
    return common[2:-1] if common.startswith(" (") and common.count("(") == 1 else common.removeprefix(", ")


def _split(configurations: Sequence[Configuration]) -> tuple[list[str], str]:
    """Each label, and what all of several share at its end, taken from it; a pruner is never shared."""
    parts, common = [LABEL_PARTS.split(ours.label) for ours in configurations], ""
    while len(parts) > 1 and all(len(each) > 1 for each in parts) and len({each[-1] for each in parts}) == 1:
        common = parts[0][-1] + common
        parts = [each[:-1] for each in parts]
    return ["".join(each) for each in parts], common


def legend(drawing: Drawing, configurations: Sequence[Configuration], *, columns: int = 3) -> None:
    """One legend for all panels, above them and each label once, in as many columns as have room."""
    found = {
        label: handle for axes in drawing.axes for handle, label in zip(*axes.get_legend_handles_labels(), strict=True)
    }
    if found:
        columns = min(columns, max(1, LEGEND_WIDTH // (max(map(len, found)) + LEGEND_HANDLE)))
        title = f"our runs: {shared(configurations)}" if shared(configurations) else None
        drawing.legend(
            list(found.values()), list(found), title=title, alignment="left", loc="outside upper left", ncols=columns,
            handlelength=1.6,
        )  # fmt: skip


def figure(name: str, caption: str, draw: Callable[[], Drawing]) -> Figure:
    """A block of a page; its renderings are the same bytes each time for the same versions of the software."""

    def render() -> Rendering:
        with matplotlib.rc_context():
            matplotlib.rcdefaults()
            matplotlib.rcParams.update(_RC)
            drawing = draw()
            return Rendering(_svg(drawing, name, caption), _png(drawing))

    return Figure(name, caption, render)


def standalone(svg: str) -> str:
    """The SVG as a file of its own: with a background, and its own light and dark colours."""
    light, dark = (";".join(f"--{name}:{pair[i]}" for name, pair in PALETTE.items()) for i in (0, 1))
    style = f"<style>svg{{{light};background:var(--surface)}}@media(prefers-color-scheme:dark){{svg{{{dark}}}}}</style>"
    end = svg.index(">") + 1
    return f"{svg[:end]}\n {style}{svg[end:]}"


def _png(drawing: Drawing) -> bytes:
    file = io.BytesIO()
    drawing.savefig(
        file, format="png", dpi=PNG_DOTS_PER_INCH, facecolor=PALETTE["surface"][0], metadata={"Software": None}
    )
    return file.getvalue()


def _svg(drawing: Drawing, name: str, caption: str) -> str:
    file = io.StringIO()
    drawing.savefig(file, format="svg", metadata={"Date": None, "Creator": None})
    return cleaned(file.getvalue(), name, caption, {variable: light for variable, (light, _) in PALETTE.items()})
