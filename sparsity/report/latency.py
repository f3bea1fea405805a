"""Times of pruned networks, from what `scripts/bench.py latency --record` has left: ratios, and what they say of zeros.

Nothing is shown of a network that nobody has timed.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

from sparsity.records import Network
from sparsity.report.benchmarks import Benchmark, load_benchmarks
from sparsity.report.blocks import Table, table
from sparsity.report.cells import number, significant
from sparsity.report.comparison import Kind

Latencies: TypeAlias = Mapping[str, Sequence[Benchmark]]  # by the sha256 of the network's file

DENSE, MASKED, CSR, COMPACT = "dense", "masked", "csr", "compact"
FORMS = {
    DENSE: "dense, without zeros",
    MASKED: "dense, with its zeros",
    CSR: "CSR",
    COMPACT: "compacted",
    "compact_onnx": "compacted, ONNX Runtime",
}
WEIGHT_BYTES, MEGABYTE = 4, 1e6

NOTE = """*Times*: a forward of drawn inputs, in milliseconds for the dense network, else as a ratio to it in the same
round, with quartiles in brackets. *Dense, with its zeros* is the network as a mask leaves it. *CSR*: sparse
products of linear layers, and of convolutions with patches. *Memory*: resident bytes at the peak of the first forward
of that size in a fresh process beyond those before it, weights left out, so activations and what a library needs."""


def load_latencies(results: Path) -> Latencies:
    """What is recorded of each network. Raises as `load_benchmarks`."""
    found: dict[str, list[Benchmark]] = defaultdict(list)
    for each in load_benchmarks(results):
        if each.environment.network is not None:
            found[each.environment.network].append(each)
    return found


def latency_table(timed: Benchmark) -> Table:
    """A line a form, a column a batch size."""
    batches = list(dict.fromkeys(each["batch"] for each in timed.measurements if each["measured"] == "latency"))
    largest = f"Memory of {max(batches)}, MB" if batches else ""
    rows = [
        [name, *(_time(timed, form, batch) for batch in batches), _memory(timed, form)]
        for form, name in FORMS.items()
        if any(each.get("form") == form for each in timed.measurements)
    ]
    return table([where(timed), *(f"Batch {batch}" for batch in batches), largest], rows)


def where(timed: Benchmark) -> str:
    """The device, and the commit that it was timed at."""
    commit = str(timed.provenance.get("commit"))[:10] + (" with changes" if timed.provenance.get("dirty") else "")
    return f"{timed.environment.device}, commit {commit}"


def answer(network: Network, timed: Benchmark) -> str:
    """Why so many zeros make the network neither smaller nor faster, in its own numbers."""
    worth, total = network.worth, WEIGHT_BYTES * network.total
    ratios = {form: _ratio_at_largest(timed, form) for form in (MASKED, CSR, COMPACT)}
    share = number(1 - network.kept / network.total, Kind.FRACTION)
    told = f"*{share} % zeros: why is it neither smaller nor faster?* A zero is stored and multiplied like any number"
    told += f": {total:,} bytes{_takes(ratios[MASKED], ' and ')}. Only what leaves zeros out saves anything: a sparse "
    told += f"file has {_share(network.bytes, total)} of the bytes, but is expanded before it computes"
    if worth is not None:
        told += f"; CSR {_share(worth.csr_bytes, total)} of the bytes{_takes(ratios[CSR], ' and ')}"
    if worth is not None and worth.num_compact is not None:
        told += f"; without its dead units it has {_share(WEIGHT_BYTES * worth.num_compact, total)} of the bytes"
        told += f"{_takes(ratios[COMPACT], ' and ')}, on any library"
    return f"{told} (batch {_largest(timed)}, {timed.environment.device}).{_trained(timed)}"


def _trained(timed: Benchmark) -> str:
    """What a step of training costs without the dead units, where that was timed."""
    found = timed.named("live units / all")
    if not found:
        return ""
    ratio, low, high = (f"{value:.2f}" for value in (found["ratio"], *found["quartiles"]))
    return f" A step of training that leaves them out takes {ratio} ({low} to {high}) times one of all units."


def _takes(ratio: float | None, before: str) -> str:
    return "" if ratio is None else f"{before}{ratio:.2f} times the dense network's time"


def _share(value: int, whole: int) -> str:
    return f"{number(value / whole, Kind.FRACTION)} %"


def _largest(timed: Benchmark) -> int:
    return max((each["batch"] for each in timed.measurements if each["measured"] == "latency"), default=0)


def _ratio_at_largest(timed: Benchmark, form: str) -> float | None:
    ratio: float | None = _of(timed, "over dense", form, _largest(timed)).get("ratio")
    return ratio


def _of(timed: Benchmark, measured: str, form: str, batch: int) -> Mapping[str, Any]:
    asked = (measured, form, batch)
    found = (each for each in timed.measurements if (each["measured"], each.get("form"), each.get("batch")) == asked)
    return next(found, {})


def _time(timed: Benchmark, form: str, batch: int) -> str:
    key, measured = ("milliseconds", "latency") if form == DENSE else ("ratio", "over dense")
    found = _of(timed, measured, form, batch)
    if not found:
        return ""
    low, high = found["quartiles"]
    return f"{significant(found[key])}{' ms' if form == DENSE else ''} ({significant(low)} to {significant(high)})"


def _memory(timed: Benchmark, form: str) -> str:
    found = _of(timed, "memory", form, _largest(timed))
    return f"{found['bytes'] / MEGABYTE:.1f}" if found else ""
