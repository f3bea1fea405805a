"""Values as they are written in tables: percent, units and rounding happen here and nowhere else."""

from collections.abc import Sequence

from sparsity.report.comparison import Comparison, Kind
from sparsity.report.statistics import Statistic

# What a value is multiplied by when printed, and its decimals.
_PRINTED = {Kind.METRIC: (1.0, 2), Kind.FRACTION: (100.0, 2), Kind.BYTES: (1e-6, 1), Kind.PRUNES: (1.0, 1)}


def number(value: float | None, kind: Kind, sign: str = "") -> str:
    """A value in the printed unit of its kind; empty for None. `sign="+"` always shows the sign."""
    if value is None:
        return ""
    factor, decimals = _PRINTED[kind]
    # Adding 0.0 after rounding turns "-0.00" into "0.00".
    return f"{round(value * factor, decimals) + 0.0:{sign}.{decimals}f}"


def spread(statistic: Statistic | None, kind: Kind) -> str:
    """Mean, and standard deviation where there is one."""
    if statistic is None:
        return ""
    mean = number(statistic.mean, kind)
    return mean if statistic.std is None else f"{mean} ± {number(statistic.std, kind)}"


def interval(statistic: Statistic | None, kind: Kind) -> str:
    """The 95 % interval of a mean; empty where one value says nothing about it."""
    return _around(statistic.mean, statistic.half_width, kind) if statistic else ""


def _around(mean: float | None, half: float | None, kind: Kind) -> str:
    return "" if mean is None or half is None else f"{number(mean - half, kind)} to {number(mean + half, kind)}"


def comparison(item: Comparison) -> list[str]:
    """Paper, tolerance, ours, 95 % interval, n, difference with its 95 % interval, verdict of one printed number."""
    count = "" if item.ours is None else str(item.ours.n)
    around = _around(item.difference, item.half_width, item.kind)
    around = f"({around})" if around else ""
    return [
        number(item.paper, item.kind),
        "±" + number(item.tolerance, item.kind),
        spread(item.ours, item.kind),
        interval(item.ours, item.kind),
        count,
        f"{number(item.difference, item.kind, sign='+')} {around}".rstrip(),
        item.words,
    ]


def significant(value: float) -> str:
    """A measured value with three significant digits: 0.0856, 16.2, 8,790."""
    rounded = float(f"{value:.3g}")
    return f"{rounded:,.0f}" if abs(rounded) >= 1000 else f"{rounded:.3g}"


def duration(seconds: float) -> str:
    """A wall time as one would say it: 35 s, 12 min, 2 h 05 min."""
    if seconds < 60:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"


def code(text: str) -> str:
    """Text in code type."""
    return f"`{text}`"


def plain_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table for a terminal: columns padded to their widest cell, two spaces between them."""
    lines = [header, *rows]
    widths = [max(len(line[i]) for line in lines) for i in range(len(header))]
    return "\n".join(
        "  ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)).rstrip() for line in lines
    )
