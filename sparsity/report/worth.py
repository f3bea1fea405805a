"""The truth card: what the zeros of a network are worth, line by line, wherever it is shown.

The page, the model card beside a network and `scripts/verify.py FILE` show the same lines.
"""

from collections.abc import Sequence

from sparsity.records import Network, Worth
from sparsity.report.blocks import Block, Prose, Table, table
from sparsity.report.cells import number
from sparsity.report.comparison import Kind
from sparsity.report.latency import NOTE as LATENCY_NOTE
from sparsity.report.latency import WEIGHT_BYTES, Latencies, answer, latency_table

MOST_LAYERS = 3  # named one by one

NOTE = """*Nominal sparsity*: zeros among all weights and biases. *On a path*: kept weights, biases apart, that lead
from the input to the output; the others do nothing. *Effective sparsity*: all weights but those, biases apart. *Dead
units* say the same of every input or are used by nobody; *compacted* (`scripts/export.py --compact`) is the network
without them: smaller, dense, of the same function, on any library. *Bit mask*: the kept weights and a bit for every
weight, as in the file itself. *CSR*: each kept weight with an index of 32 bits, as libraries for sparse products read
it. MACs are multiply-accumulates of layers for one input; bytes are those of float32."""

Named = Sequence[tuple[str, Network]]  # with what they are called, such as the row that they are of


def truth_card(groups: Sequence[tuple[str, Named]], latencies: Latencies) -> list[Block]:
    """What there is to say of networks: a table for each group, and one of the times of each network that was timed.

    Args:
        groups: with a name, where there is more than one.
        latencies: what is recorded, of these networks and of others.
    """
    known = [(group, [(name, of) for name, of in named if of.worth is not None]) for group, named in groups]
    found = [block for group, named in known if named for block in _group(group, named, latencies)]
    is_timed = any(of.sha256 in latencies for _, named in known for _, of in named)
    notes = [Prose(NOTE), *([Prose(LATENCY_NOTE)] if is_timed else [])]
    return [*notes, *found] if found else []


def _group(group: str, networks: Named, latencies: Latencies) -> list[Block]:
    blocks: list[Block] = [Prose(f"**{group}**")] if group else []
    blocks.append(truth_table(networks))
    for name, network in networks:
        for timed in latencies.get(network.sha256, ()):
            blocks += [Prose(f"{name}. {answer(network, timed)}"), latency_table(timed)]
    return blocks


def truth_table(networks: Named) -> Table:
    """A column for each network, whose worth is known, and a line for whatever is known of any."""
    columns = [truth_lines(network) for _, network in networks]
    rows = [[line, *(column[line] for column in columns)] for line in columns[0]]
    return table(["", *(name for name, _ in networks)], [row for row in rows if any(row[1:])])


def truth_lines(network: Network) -> dict[str, str]:
    """What a line is called -> what it says of a network; empty where that is not known of one of its kind."""
    worth = network.worth
    assert worth is not None, "the others are left out"
    total_weights = sum(of["total"] for name, of in network.layers.items() if not name.endswith("bias"))
    dense_bytes = WEIGHT_BYTES * network.total
    on_path = worth.num_on_path
    return {
        "Nominal sparsity": f"{number(1 - network.kept / network.total, Kind.FRACTION)} %",
        "Effective sparsity": "" if on_path is None else _percent(total_weights - on_path, total_weights),
        "Kept weights, biases apart": _share(worth.num_weights, total_weights),
        "Kept weights and biases": _share(network.kept, network.total),
        "Bytes of what is kept": _share(WEIGHT_BYTES * network.kept, dense_bytes),
        "On a path": _share(on_path, worth.num_weights),
        "Dead units": _dead(worth),
        "MACs, dense": _count(worth.operations),
        "MACs of kept weights": _share(worth.operations_kept, worth.operations),
        "MACs, compacted": _share(worth.operations_compact, worth.operations),
        "Bytes, dense": _count(dense_bytes),
        "Bytes, dense with zeros, gzip -9": _share(worth.gzip_bytes, dense_bytes),
        "Bytes, bit mask": _share(network.bytes, dense_bytes),
        "Bytes, CSR": _share(worth.csr_bytes, dense_bytes),
        "Bytes, compacted": _share(worth.num_compact and WEIGHT_BYTES * worth.num_compact, dense_bytes),
    }


def _dead(worth: Worth) -> str:
    """Units that do nothing, of all, layer by layer where these are few."""
    dead = {name: (of["total"] - of["left"], of["total"]) for name, of in worth.units.items()}
    if len(dead) > MOST_LAYERS:
        return _share(*(sum(of[place] for of in dead.values()) for place in (0, 1)))
    return "; ".join(f"{name} {gone:,} of {total:,}" for name, (gone, total) in dead.items())


def _count(value: int | None) -> str:
    return "" if value is None else f"{value:,}"


def _share(value: int | None, whole: int | None) -> str:
    """A number and what share of the whole it is."""
    return "" if value is None or not whole else f"{value:,} ({_percent(value, whole)})"


def _percent(value: int, whole: int) -> str:
    return f"{number(value / whole, Kind.FRACTION)} %" if whole else ""
