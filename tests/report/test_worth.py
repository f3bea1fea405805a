"""The truth card: the same lines on the page, beside a network and in the terminal, and times where there are any."""

import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from sparsity.records import Network, Worth
from sparsity.report.benchmarks import Benchmark, Environment
from sparsity.report.blocks import Prose, Table
from sparsity.report.latency import answer, latency_table, load_latencies
from sparsity.report.worth import truth_card, truth_lines
from tests.report.fake_results import AddRun, add_networks, render_page
from tests.report.test_benchmarks import add

WORTH = Worth(
    num_weights=90,
    num_on_path=60,
    operations=10_000,
    operations_kept=1_000,
    operations_compact=2_500,
    units={"fc1": {"total": 20, "left": 5}, "fc2": {"total": 10, "left": 10}},
    num_compact=400,
    csr_bytes=800,
    gzip_bytes=700,
)
LAYERS = {"fc1.weight": {"total": 900, "kept": 90}, "fc1.bias": {"total": 100, "kept": 10}}
NETWORK = Network("last", "networks/last.safetensors", 600, "ab" * 32, 1_000, 100, LAYERS, WORTH)


def measured(ratios: dict[str, float], batches: tuple[int, ...] = (1, 64)) -> list[dict[str, Any]]:
    """Times of each form, those of the largest batch as given, others twice that."""
    found: list[dict[str, Any]] = []
    for batch in batches:
        found.append({"measured": "latency", "form": "dense", "batch": batch, "milliseconds": 2.0, "quartiles": [1, 3]})
        for form, value in ratios.items():
            ratio = value if batch == max(batches) else 2 * value
            quartiles = [ratio - 0.1, ratio + 0.1]
            found.append(
                {"measured": "over dense", "form": form, "batch": batch, "ratio": ratio, "quartiles": quartiles}
            )
    return [*found, {"measured": "memory", "form": "dense", "batch": max(batches), "bytes": 12_340_000}]


def timed(ratios: dict[str, float]) -> Benchmark:
    where = Environment(
        "lenet5_mnist", "relevance", "drawn", "cpu: Example with AVX2, 1 thread", "fp32", False, 1, "2", "ab" * 32
    )
    return Benchmark("latency", where, tuple(measured(ratios)), {"commit": "0123456789abcdef", "dirty": False})


def test_each_line_of_the_card_follows_from_the_counts() -> None:
    assert truth_lines(NETWORK) == {
        "Nominal sparsity": "90.00 %",
        "Effective sparsity": "93.33 %",  # 840 of 900
        "Kept weights, biases apart": "90 (10.00 %)",
        "Kept weights and biases": "100 (10.00 %)",
        "Bytes of what is kept": "400 (10.00 %)",
        "On a path": "60 (66.67 %)",
        "Dead units": "fc1 15 of 20; fc2 0 of 10",
        "MACs, dense": "10,000",
        "MACs of kept weights": "1,000 (10.00 %)",
        "MACs, compacted": "2,500 (25.00 %)",
        "Bytes, dense": "4,000",
        "Bytes, dense with zeros, gzip -9": "700 (17.50 %)",
        "Bytes, bit mask": "600 (15.00 %)",
        "Bytes, CSR": "800 (20.00 %)",
        "Bytes, compacted": "1,600 (40.00 %)",
    }


def test_many_layers_are_summed_and_what_nobody_knows_has_no_line() -> None:
    units = {f"layer{i}": {"total": 10, "left": 9} for i in range(4)}
    network = replace(NETWORK, worth=Worth(num_weights=90, units=units, csr_bytes=800))
    (_, table) = truth_card([("", [("Mine", network)])], {})
    assert isinstance(table, Table) and table.header == ("", "Mine")
    lines = dict((line, value) for line, value in table.rows)
    assert lines["Dead units"] == "4 (10.00 %)"
    assert not {"On a path", "Effective sparsity", "MACs, dense", "Bytes, compacted"} & lines.keys()


def test_networks_of_early_cards_are_left_out() -> None:
    early = replace(NETWORK, worth=None)
    assert truth_card([("a", [("One", early)])], {"ab" * 32: [timed({"masked": 1.0})]}) == []


def test_groups_have_a_table_each_and_the_notes_stand_once() -> None:
    blocks = truth_card([("a", [("One", NETWORK)]), ("b", [("Two", NETWORK)])], {})
    assert [block.text for block in blocks[1::2] if isinstance(block, Prose)] == ["**a**", "**b**"]
    assert [isinstance(block, Table) for block in blocks] == [False, False, True, False, True]


def test_times_are_ratios_to_the_dense_network_with_its_own_in_milliseconds() -> None:
    table = latency_table(timed({"masked": 1.0, "csr": 3.5}))
    assert table.header == (
        "cpu: Example with AVX2, 1 thread, commit 0123456789",
        "Batch 1",
        "Batch 64",
        "Memory of 64, MB",
    )
    assert table.rows == (
        ("dense, without zeros", "2 ms (1 to 3)", "2 ms (1 to 3)", "12.3"),
        ("dense, with its zeros", "2 (1.9 to 2.1)", "1 (0.9 to 1.1)", ""),
        ("CSR", "7 (6.9 to 7.1)", "3.5 (3.4 to 3.6)", ""),
    )


def test_the_answer_is_computed_from_what_was_counted_and_timed() -> None:
    said = answer(NETWORK, timed({"masked": 1.02, "csr": 3.5, "compact": 0.4}))
    assert said == (
        "*90.00 % zeros: why is it neither smaller nor faster?* A zero is stored and multiplied like any number: 4,000 "
        "bytes and 1.02 times the dense network's time. Only what leaves zeros out saves anything: a sparse file has "
        "15.00 % of the bytes, but is expanded before it computes; CSR 20.00 % of the bytes and 3.50 times the dense "
        "network's time; without its dead units it has 40.00 % of the bytes and 0.40 times the dense network's time, "
        "on any library (batch 64, cpu: Example with AVX2, 1 thread)."
    )


def test_a_step_of_training_without_dead_units_is_told_where_it_was_timed() -> None:
    of = timed({"masked": 1.0, "csr": 3.5, "compact": 0.4})
    step = {"measured": "live units / all", "batch": 100, "ratio": 0.312, "quartiles": [0.3, 0.324]}
    said = answer(NETWORK, replace(of, measurements=(*of.measurements, step)))
    assert said.endswith("A step of training that leaves them out takes 0.31 (0.30 to 0.32) times one of all units.")
    assert said.startswith(answer(NETWORK, of))


def test_a_network_that_cannot_be_compacted_is_answered_without_that() -> None:
    assert WORTH.num_compact is not None
    said = answer(replace(NETWORK, worth=replace(WORTH, num_compact=None)), timed({"masked": 1.0, "csr": 3.5}))
    assert said.endswith(
        "CSR 20.00 % of the bytes and 3.50 times the dense network's time (batch 64, cpu: Example with AVX2, 1 thread)."
    )


def test_the_page_shows_times_of_the_very_file_that_was_timed(mnist_alone: Path, add_run: AddRun) -> None:
    directory = add_run()
    add_networks(directory, {"last": 600})
    path = directory / "card.json"
    card = json.loads(path.read_text())
    card["networks"][0] |= {"worth": asdict(WORTH), "sha256": "ab" * 32}
    path.write_text(json.dumps(card))
    assert "Effective sparsity" in render_page(mnist_alone) and "neither smaller" not in render_page(mnist_alone)
    add(mnist_alone, "a", *measured({"masked": 1.0}), command="latency", network="ab" * 32)
    add(mnist_alone, "b", *measured({"masked": 9.0}), command="latency", network="cd" * 32)
    assert len(load_latencies(mnist_alone)) == 2
    page = render_page(mnist_alone)
    assert page.count("| dense, with its zeros |") == 1 and "1 (0.9 to 1.1)" in page
    before, _, folded = page.partition("<summary>What their zeros are worth</summary>")
    assert "% zeros: why is it neither smaller nor faster?" in before and "Seed 0, from the last state." in folded
