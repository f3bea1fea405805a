"""Every damaged file has a way out: the sentence that names it, and a run that ends as if nothing had been.

The tests walk through table.py, which README.md beside prints.
"""

import logging
import re
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from scripts import evaluate, export, train
from sparsity import config
from sparsity.report.reading import load_run
from sparsity.run.phase import Phase
from tests.faults.killed import differences
from tests.faults.table import DONE, INTERRUPTED, Fault, rendered
from tests.tiny_runs import TINY_OVERRIDES

WORDS = (
    *(*TINY_OVERRIDES, "machine.checkpoint_every_seconds=0", "gate.target_sparsity=0.5"),
    *("baseline=train", "baseline.num_epochs=1", "baseline.batch_size=10", "finetune.evaluate_every_steps=1"),
)
DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "garbage": lambda content: bytes((37 * place + 11) % 256 for place in range(len(content))),
    "zeroed": lambda content: bytes(len(content)),
    "cut short": lambda content: content[: len(content) // 3],
}
damaged_somehow = pytest.mark.parametrize(
    "damage", [pytest.param(name, marks=() if name == "garbage" else pytest.mark.slow) for name in DAMAGES]
)

Train = Callable[[Path], str]


@pytest.fixture(scope="module")
def train_again() -> Iterator[Train]:
    """`scripts/train.py` in this process, and how it ended: the sentence on stderr, or nothing."""
    with pytest.MonkeyPatch.context() as patch:

        def run(results: Path) -> str:
            patch.setenv("HYDRA_FULL_ERROR", "0")
            patch.setattr(sys, "argv", ["scripts/train.py", *WORDS, f"results_dir={results}"])
            try:
                config.command(train.main)
            except SystemExit as error:
                return str(error.code)
            return ""

        yield run


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, train_again: Train) -> Path:
    """The results of a finished run."""
    results = tmp_path_factory.mktemp("whole")
    assert train_again(results) == ""
    return results


@pytest.fixture(scope="module")
def interrupted(tmp_path_factory: pytest.TempPathFactory, train_again: Train) -> Path:
    """The results of a run whose process was lost after three evaluations of its second final phase."""
    results, report, seen = tmp_path_factory.mktemp("interrupted"), Phase._report, [0]

    def reported(self: Phase, *arguments: Any) -> None:
        report(self, *arguments)
        seen[0] += self.name == "finetune/last"
        if seen[0] == 3:
            raise OSError("lost")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Phase, "_report", reported)
        assert "lost" in train_again(results)
    return results


def put(text: str, results: Path) -> str:
    """A text of the table with the folders of these results."""
    (run,), (baseline,) = (results.glob(f"runs/{name}/*/seed0") for name in ("lenet5_mnist", "baselines"))
    return text.replace("{run}", str(run)).replace("{baseline}", str(baseline))


def is_said(sentence: str, said: list[str], results: Path) -> bool:
    pattern = re.escape(put(sentence, results)).replace(re.escape("(...)"), ".*")
    return any(re.fullmatch(pattern, line) for line in said)


def copy_of(results: Path, place: Path) -> Path:
    return shutil.copytree(results, place / "results")


def damage_files(fault: Fault, results: Path, damage: str) -> None:
    for file in fault.file.split(", "):
        path = Path(put(file, results))
        path.write_bytes(DAMAGES[damage](path.read_bytes()))


@damaged_somehow
@pytest.mark.parametrize("fault", INTERRUPTED, ids=lambda fault: fault.file)
def test_an_interrupted_run_with_a_damaged_file_says_so_and_ends_as_one_without(
    fault: Fault,
    damage: str,
    interrupted: Path,
    whole: Path,
    train_again: Train,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    results = copy_of(interrupted, tmp_path)
    if fault.file.endswith("metrics.jsonl") and damage == "cut short":
        pytest.skip("the place of the damage is another: see the test of that")
    damage_files(fault, results, damage)
    said = train_again(results)
    if fault.removes is not None:
        assert is_said(fault.reads, [said], results), said
        shutil.rmtree(put(fault.removes, results))
        said = train_again(results)
    else:
        assert not fault.reads or is_said(fault.reads, caplog.messages, results), caplog.messages
    assert said == ""
    files = [Path(put(file, results)).relative_to(results) for file in fault.file.split(", ")]
    assert differences(results, whole, ignored=[] if fault.reads else files) == []


def test_a_record_that_is_damaged_in_a_phase_costs_what_was_trained_from_that_phase_on(
    interrupted: Path, whole: Path, train_again: Train, tmp_path: Path
) -> None:
    results = copy_of(interrupted, tmp_path)
    record = Path(put("{run}/metrics.jsonl", results))
    lines = record.read_bytes().splitlines(keepends=True)
    number = next(i for i, line in enumerate(lines) if b"finetune/paper_sparsity" in line) + 1
    lines[number] = b"\0" * len(lines[number])
    record.write_bytes(b"".join(lines))
    phase = put("{run}/checkpoints/finetune/paper_sparsity", results)
    assert train_again(results) == (
        f"error: {record} is damaged in line {number + 1}: put the file back, or remove {phase} to train from that "
        "phase on again."
    )
    shutil.rmtree(phase)
    assert train_again(results) == "" and differences(results, whole) == []


OTHERS: dict[str, Any] = {
    "another network": {"weights": {"w": torch.ones(2)}, "masks": {}, "trainer": {}, "judge": {}, "progress": {}},
    "nothing of the kind": {"epoch": 3},
    "no dictionary": [1, 2],
}


@pytest.mark.parametrize("other", OTHERS)
@pytest.mark.parametrize("name", ["last/last.pt", "paper_sparsity/best.pt"])
def test_a_checkpoint_of_another_structure_is_named_with_the_way_out(
    interrupted: Path, train_again: Train, tmp_path: Path, name: str, other: str
) -> None:
    results = copy_of(interrupted, tmp_path)
    path = Path(put("{run}/checkpoints/finetune", results)) / name
    torch.save(OTHERS[other], path)
    said = train_again(results)
    assert said.startswith(f"error: The checkpoint {path} is of another structure than this "), said
    assert said.endswith(
        f"Remove {path.parent}, and the run's summary.json if there is one, to train that phase again."
    )


def read_by(fault: Fault, run: Path) -> Iterator[Callable[[], object]]:
    """What reads a file of a finished run."""
    if fault.file.endswith((".yaml", ".pt")):
        yield lambda: list(evaluate.score(run, ["tests"]))
        yield lambda: export.export(run, config.from_run(run, ["tests"]), "finetune/last/best", run / "exported")
    else:
        yield lambda: load_run(run)


@damaged_somehow
@pytest.mark.parametrize("fault", DONE, ids=lambda fault: fault.file)
def test_whoever_reads_a_damaged_file_of_a_finished_run_says_so_and_the_same_command_repairs_it(
    fault: Fault, damage: str, whole: Path, train_again: Train, tmp_path: Path
) -> None:
    results = copy_of(whole, tmp_path)
    damage_files(fault, results, damage)
    run = Path(put("{run}", results))
    for read in read_by(fault, run):
        with pytest.raises(ValueError) as caught:
            read()
        assert is_said(fault.reads, [f"error: {caught.value}"], results), str(caught.value)
    if fault.file.endswith("summary.json"):
        assert is_said(fault.reads, [train_again(results)], results)
    (run / "summary.json").unlink()
    if fault.removes is not None:
        shutil.rmtree(put(fault.removes, results))
    assert train_again(results) == "" and differences(results, whole) == []
    for read in read_by(fault, run):
        read()


def test_a_damaged_manifest_of_a_finished_run_is_said_and_the_run_is_done_again_in_no_step(
    whole: Path, train_again: Train, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    results = copy_of(whole, tmp_path)
    Path(put("{run}/manifest.json", results)).write_bytes(b"\0")
    with caplog.at_level(logging.WARNING):
        assert train_again(results) == "" and differences(results, whole) == []
    assert any("who trained this run until now is not known" in message for message in caplog.messages)


def test_the_table_of_faults_is_printed_beside() -> None:
    assert rendered() in (Path(__file__).parent / "README.md").read_text()
