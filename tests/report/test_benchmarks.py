"""results/benchmarks.md: what was measured, device by device."""

import json
from pathlib import Path
from typing import Any

import pytest

from sparsity.report.benchmarks import benchmarks_page, bf16_factor, load_benchmarks
from sparsity.report.markdown import render_markdown


def add(results: Path, name: str, *measurements: dict[str, Any], command: str = "step", **environment: Any) -> Path:
    """Record measurements as bench.py does."""
    where = {"experiment": "lenet5_mnist", "pruner": "relevance", "data": "generated", "torch": "2.14.1",
             "device": "cpu: Example with AVX2, 1 thread", "precision": "fp32", "bf16_units": False,
             "threads": 1}  # fmt: skip
    path = results / "benchmarks" / "cpu-example" / f"{name}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    made = {"schema": 1, "command": command, "environment": where | environment, "measurements": measurements}
    path.write_text(json.dumps(made | {"provenance": {"commit": "0123456789abcdef", "dirty": False}}))
    return path


def timed(name: str, seconds: float) -> dict[str, Any]:
    return {"measured": name, "seconds": seconds, "quartiles": [0.9 * seconds, 1.1 * seconds]}


def ratio(name: str, value: float) -> dict[str, Any]:
    return {"measured": name, "ratio": value, "quartiles": [value - 0.01, value + 0.01]}


def page(results: Path) -> str:
    return render_markdown(benchmarks_page(load_benchmarks(results)))


def test_a_step_stands_beside_its_floor_and_plain_training(tmp_path: Path) -> None:
    shares = {"measured": "shares", "of": {"convolutions": 0.603, "pooling": 0.38, "norms": 0.017}}
    add(tmp_path, "a", timed("relevance step", 0.02), ratio("relevance / plain", 1.02), timed("floor", 0.005), shares)
    (line,) = [line for line in page(tmp_path).splitlines() if line.startswith("| `lenet5_mnist`") and "1.02" in line]
    assert "| fp32, 1 thread | 20 (18 to 22) | 1.02 (1.01 to 1.03) |" in line
    assert line.endswith("| 5 | 4.0 | convolutions 60%, pooling 38% | `0123456789` |")


def test_the_loss_and_the_searches_stand_beside_others_and_a_small_network_is_called_so(tmp_path: Path) -> None:
    ratios = {"loss / products": 1.2, "generate / our search": 1.6, "ctranslate2 / our search": 0.7}
    add(tmp_path, "a", *(ratio(name, value) for name, value in ratios.items()), scale="smoke")
    (line,) = [line for line in page(tmp_path).splitlines() if "1.6 (" in line]
    assert line.startswith("| `lenet5_mnist`, smoke | fp32, 1 thread |")
    assert "| 1.2 (1.19 to 1.21) | 1.6 (1.59 to 1.61) | 0.7 (0.69 to 0.71) |" in line


def test_a_whole_run_stands_in_the_row_of_its_experiment(tmp_path: Path) -> None:
    add(tmp_path, "a", timed("relevance step", 0.02), timed("prune", 0.003))
    add(tmp_path, "b", timed("start", 4.0), timed("smoke run", 20.0), command="run")
    add(tmp_path, "c", timed("start", 5.0), timed("smoke run", 30.0), command="run", experiment="vgg16_imagenet")
    text = page(tmp_path)
    assert "| `lenet5_mnist` | fp32, 1 thread |  | 3 (2.7 to 3.3) |  | 4 | 20 |" in text
    assert "| `vgg16_imagenet` | fp32, 1 thread |  |  |  | 5 | 30 |" in text


def test_other_methods_have_a_table_of_their_own(tmp_path: Path) -> None:
    add(tmp_path, "a", timed("relevance step", 0.02))
    add(tmp_path, "b", ratio("dns / plain", 1.2), pruner="dns")
    assert "| `dns` | `lenet5_mnist` | fp32, 1 thread | 1.2 (1.19 to 1.21) |" in page(tmp_path)


def test_a_processor_is_named_with_what_it_can_multiply(tmp_path: Path) -> None:
    add(tmp_path, "a", timed("relevance step", 0.02), bf16_units=True, precision="bf16")
    assert "## cpu: Example with AVX2, bf16 units" in page(tmp_path)


def test_times_of_pruned_networks_stand_elsewhere(tmp_path: Path) -> None:
    add(tmp_path, "a", timed("latency", 0.02), command="latency", network="ab" * 32)
    assert benchmarks_page(load_benchmarks(tmp_path)) == []


def test_nothing_recorded_makes_no_page_and_a_damaged_file_is_named(tmp_path: Path) -> None:
    assert benchmarks_page(load_benchmarks(tmp_path)) == []
    add(tmp_path, "a").write_text("{}")
    with pytest.raises(ValueError, match=r"a\.json cannot be used: it declares schema None.*measure it again"):
        load_benchmarks(tmp_path)


def test_the_gain_of_bf16_is_one_processors_and_this_ones_where_it_is_on_record(tmp_path: Path) -> None:
    seconds = {("A", "fp32"): 1.0, ("B", "fp32"): 1.0, ("B", "bf16"): 0.5, ("C", "fp32"): 1.0, ("C", "bf16"): 0.75}
    for (name, precision), each in seconds.items():
        device = f"cpu: {name} with AVX512, 1 thread"
        step = timed("relevance step", each)
        add(tmp_path, f"{name}-{precision}", step, device=device, precision=precision, bf16_units=True)
    found = load_benchmarks(tmp_path)
    assert [bf16_factor(found, "lenet5_mnist", name) for name in ("B", "C", "another")] == [0.5, 0.75, 0.5]
    assert bf16_factor(found, "vgg16_imagenet", "B") is None
