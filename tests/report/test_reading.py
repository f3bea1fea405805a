"""The three files of a run are read whole, or the damaged one is named in one sentence."""

import json
import shutil
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from sparsity.records import SCHEMA
from sparsity.report.reading import find_runs, load_run, load_summary
from tests.report.fake_results import KEPT, REPOSITORY, TOTAL, AddRun, row


def test_a_run_is_read_with_its_layers_and_curve(add_run: AddRun) -> None:
    run = load_run(add_run(seed=7))
    assert run.summary.seed == 7
    assert run.summary.baseline.test is None
    assert run.layers[0].parameter == "conv1.weight"
    assert (run.layers[0].total, run.layers[0].kept) == (520, 150)
    assert [point.pruned for point in run.curve] == [False, True, False]


def unknown(recorded: Any, schema: Any, where: str = "summary") -> list[str]:
    """What a record says that its schema has no name for, or another value."""
    if isinstance(recorded, dict) and isinstance(schema, dict):
        pairs = [(f"{where}.{key}", value, schema.get(key, "no such key")) for key, value in recorded.items()]
    elif isinstance(recorded, list) and isinstance(schema, tuple) and len(recorded) == len(schema):
        pairs = [(where, *pair) for pair in zip(recorded, schema, strict=True)]
    else:
        return [] if recorded == schema else [where]
    return [word for place, said, read in pairs for word in unknown(said, read, place)]


def test_the_schema_has_a_name_for_all_that_committed_summaries_say() -> None:
    committed = find_runs(REPOSITORY / "results")
    assert committed
    for directory in committed:
        recorded = json.loads((directory / "summary.json").read_text())
        assert unknown(recorded, {"schema": SCHEMA, **asdict(load_summary(directory))}) == []


def test_only_directories_with_a_summary_are_finished_runs(results: Path, add_run: AddRun) -> None:
    finished = add_run(seed=0)
    (add_run(seed=1) / "summary.json").unlink()
    assert find_runs(results) == [finished]


def test_a_folder_whose_name_begins_with_a_dot_holds_no_run(results: Path, add_run: AddRun) -> None:
    finished = add_run(seed=0)
    shutil.copytree(finished.parent, finished.parent.with_name(".trash"))
    assert find_runs(results) == [finished]


@pytest.mark.parametrize("name", ["seed0_backup", "seed0 copy", "seed0.old", "seed", "seed00", "seed-1"])
def test_a_copy_of_a_seeds_folder_is_no_further_seed(results: Path, add_run: AddRun, name: str) -> None:
    finished = add_run(seed=0)
    shutil.copytree(finished, finished.with_name(name))
    assert find_runs(results) == [finished]


@pytest.mark.parametrize(
    "place",
    [
        "lenet5_mnist/paper-relevance-ab12cd34ef56/seed3",
        "lenet5_mnist/paper-relevance-ab12cd34ef56 copy/seed0",
        "old/paper-relevance-ab12cd34ef56/seed0",
    ],
)
def test_a_copy_under_a_name_that_could_be_a_runs_is_refused(results: Path, add_run: AddRun, place: str) -> None:
    shutil.copytree(add_run(seed=0), results / place)
    with pytest.raises(ValueError) as caught:
        load_run(results / place)
    assert str(caught.value).startswith(
        f"{results / place}/summary.json cannot be used: it is of seed 0 of the run ab12cd34ef56 of lenet5_mnist, so "
        "this folder is a copy of that run's; "
    )


def test_unpublished_runs_are_not_found_among_the_published(results: Path, add_finished: AddRun) -> None:
    add_finished()
    assert find_runs(results) == []


@pytest.mark.parametrize(
    ("name", "content", "problem"),
    [
        ("summary.json", '{"schema": 1,', "Expecting"),
        ("summary.json", '{"schema": 9}', "it declares schema 9, this version reads schema 1"),
        ("layers.csv", "start,parameter\nlast,conv1.weight\n", "line 2 is no layer"),
        ("layers.csv", "start,parameter,shape,total,kept,sparsity\nlast,a,1,1,1\n", "line 2 is no layer"),
        ("curve.jsonl", '{"phase": "regularise"', "line 1 is not JSON"),
        ("curve.jsonl", '{"phase": "regularise"}', "line 1.step is missing"),
    ],
)
def test_a_damaged_file_is_named_in_one_sentence(add_run: AddRun, name: str, content: str, problem: str) -> None:
    directory = add_run()
    (directory / name).write_text(content)
    with pytest.raises(ValueError, match=problem) as caught:
        load_run(directory)
    assert str(caught.value).startswith(f"{directory / name} cannot be used: ")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["layers.csv", "curve.jsonl"])
def test_a_missing_file_is_named(add_run: AddRun, name: str) -> None:
    directory = add_run()
    (directory / name).unlink()
    with pytest.raises(ValueError, match=rf"{name} cannot be used: it is missing; remove"):
        load_run(directory)


@pytest.mark.parametrize(
    "change",
    [
        {"sparsity": 99.7},
        {"sparsity": 1 - (KEPT + 1) / TOTAL},
        {"compression": TOTAL / (KEPT + 1)},
        {"kept": KEPT + 1},
        row(kept=-1),
        row(kept=TOTAL + 1),
        {"total": 0},
    ],
)
def test_a_row_that_contradicts_its_own_counts_is_damaged(add_run: AddRun, change: dict[str, float]) -> None:
    directory = add_run(rows=[{**row(), **change}])
    with pytest.raises(ValueError, match="the row paper_sparsity says sparsity"):
        load_run(directory)


def test_a_row_of_which_nothing_is_left_is_sound(add_run: AddRun) -> None:
    assert load_run(add_run(rows=[row(kept=0)])).summary.rows[0].compression == TOTAL


@pytest.mark.parametrize("kept", [-1, 153, 530])
def test_a_layer_that_contradicts_its_own_counts_is_damaged(add_run: AddRun, kept: int) -> None:
    table = add_run() / "layers.csv"
    table.write_text(table.read_text().replace("520,150,", f"520,{kept},"))
    with pytest.raises(
        ValueError, match=rf"line 2 is no layer \(conv1\.weight has sparsity .* with {kept} of 520 kept"
    ):
        load_run(table.parent)


def test_layers_that_do_not_add_up_to_their_row_are_damaged(add_run: AddRun) -> None:
    table = add_run() / "layers.csv"
    *lines, _ = table.read_text().splitlines()
    table.write_text("\n".join(lines))
    problem = r"its layers of last do not add up to the row in summary\.json: \(1046, 426070\), not \(1214, 431080\)"
    with pytest.raises(ValueError, match=rf"layers\.csv cannot be used: {problem}"):
        load_run(table.parent)


def test_layers_of_a_row_that_is_not_there_are_damaged(add_run: AddRun) -> None:
    table = add_run() / "layers.csv"
    table.write_text(table.read_text() + "best_of_all,conv1.weight,1x1,520,150,0.711538\n")
    with pytest.raises(ValueError, match=r"it has layers of best_of_all, for which summary\.json has no row"):
        load_run(table.parent)


def test_stand_in_data_is_never_called_by_the_real_name(add_run: AddRun) -> None:
    assert load_run(add_run(seed=0)).summary.data_used == "mnist"
    stand_in = load_run(add_run(seed=1, data_source="embedded", data_name="digits"))
    assert stand_in.summary.data_used == "digits (stand-in)"
    part = load_run(add_run(seed=2, data_source="taskmaster1-part", data_name="taskmaster1-part"))
    assert part.summary.data_used == "taskmaster1-part"
