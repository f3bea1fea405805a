"""What the zeros of published networks are worth, as a table: why so many of them make nothing smaller or faster."""

from collections.abc import Sequence

from sparsity.records import Network
from sparsity.report.blocks import Table, table
from sparsity.report.cells import number
from sparsity.report.comparison import Kind
from sparsity.report.configurations import STARTS

WEIGHT_BYTES = 4

NOTE = """*Most weights are zeros: why is the network neither smaller nor faster?* A zero takes as many bytes and as
much time as any number, unless somebody leaves it out. *Sparse file*: the kept weights, and one bit for every weight.
*CSR*: each kept weight with an index of 32 bits, as libraries for sparse products read it, whose gathers cost more than
the products saved. *Compacted* (`scripts/export.py --compact`): units that do nothing are removed, and what is left is
a smaller dense network with the same function, on any library. *On a path*: kept weights, biases apart, that lead from
the input to the output; the others do nothing. Operations are multiply-accumulates of layers for one input."""

HEADER = (
    *("Kept, biases apart", "On a path", "Operations: dense", "of kept weights", "compacted"),
    *("Bytes: dense", "sparse file", "CSR", "compacted", "Units left"),
)


def worth_table(networks: Sequence[Network]) -> Table | None:
    """One line a network whose worth is known; None where there is none."""
    rows = [[STARTS[network.start], *_cells(network)] for network in networks if network.worth is not None]
    return table(["Network", *HEADER], rows) if rows else None


def _cells(network: Network) -> list[str]:
    worth = network.worth
    assert worth is not None, "the others are left out"
    units = [f"{name} {of['left']:,} of {of['total']:,}" for name, of in worth.units.items()]
    compact = None if worth.num_compact is None else WEIGHT_BYTES * worth.num_compact
    dense_bytes = WEIGHT_BYTES * network.total
    return [
        f"{worth.num_weights:,}",
        _share(worth.num_on_path, worth.num_weights),
        _count(worth.operations),
        _share(worth.operations_kept, worth.operations),
        _share(worth.operations_compact, worth.operations),
        _count(dense_bytes),
        _share(network.bytes, dense_bytes),
        _share(worth.csr_bytes, dense_bytes),
        _share(compact, dense_bytes),
        "; ".join(units) if len(units) <= 3 else f"{len(units)} layers, {_share_of_units(network)} % of their units",
    ]


def _count(value: int | None) -> str:
    return "" if value is None else f"{value:,}"


def _share(value: int | None, whole: int | None) -> str:
    """A number and what share of the whole it is."""
    if value is None or not whole:
        return ""
    return f"{value:,} ({number(value / whole, Kind.FRACTION)} %)"


def _share_of_units(network: Network) -> str:
    assert network.worth is not None
    left, total = (sum(of[key] for of in network.worth.units.values()) for key in ("left", "total"))
    return number(left / total, Kind.FRACTION)
