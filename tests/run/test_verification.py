"""Verification names what was changed: a bit of a network, a digit of a record, a word of a header or a page."""

import gzip
import hashlib
import json
import os
import shlex
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch
from safetensors.torch import save_file

from scripts import verify
from sparsity import config
from sparsity.data.vision import ImageData
from sparsity.report.reading import Run, load_run
from sparsity.report.rescored import load_rescored
from sparsity.run.experiment import Setup, set_up
from sparsity.run.verification import contradictions, rescored, strays
from sparsity.weights.export import load_header, load_sparse, save_sparse
from tests.report.test_benchmarks import add
from tests.tiny_runs import TinyNet, TinyRun, tiny_experiment

TINY = (
    *(f"model._target_={TinyNet.__module__}.TinyNet", "~model.num_classes", "~model.conv_relu"),
    *(f"dataset._target_={TinyNet.__module__}.tiny_data", "~dataset.normalise", "machine=cpu"),
)
MIRROR = os.environ.get("SPARSITY_DATA_MIRROR", "")
DNS = Path(MIRROR) / "checkpoints/dns/lenet5-pruned.safetensors.gz"


@pytest.fixture
def run(tiny_run: TinyRun, tmp_path: Path) -> Run:
    """A copy of a finished run that a test may damage."""
    copy = tmp_path.joinpath(*tiny_run.directory.parts[-3:])
    shutil.copytree(tiny_run.directory, copy)
    return load_run(copy)


@pytest.fixture
def setup(tmp_path: Path) -> Setup:
    return set_up(tiny_experiment(tmp_path))


def found(run: Run) -> list[str]:
    """Contradictions of the first row's network, the record read anew."""
    anew = load_run(run.directory)
    return list(contradictions(set_up(tiny_experiment(run.directory)), anew, anew.networks[0]))


def edit(path: Path, change: Callable[[Any], None]) -> None:
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def test_an_untouched_run_agrees_and_its_metric_comes_out_again(run: Run, setup: Setup) -> None:
    for network, row in zip(run.networks, run.summary.rows, strict=True):
        metric = rescored(setup, run.directory / network.file)
        assert metric == pytest.approx(row.test)
        assert [*contradictions(setup, run, network), *strays(setup, run, network, metric)] == []


def test_a_network_is_scored_again_on_test_data(run: Run, setup: Setup, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Setup, "score", lambda _, model, split: {"tiny/test": 7.0}[split.identity])
    assert rescored(setup, run.directory / run.networks[0].file) == 7.0


def test_a_flipped_bit_of_a_weight_is_named(run: Run) -> None:
    path = run.directory / run.networks[0].file
    content = bytearray(path.read_bytes())
    content[-20] ^= 1
    path.write_bytes(content)
    (problem,) = found(run)
    assert problem.startswith("card.json says sha256 ")


def test_a_weight_that_is_one_too_few_is_named_everywhere(run: Run) -> None:
    path = run.directory / run.networks[0].file
    header, weights = load_header(path), load_sparse(path)
    first = weights["fc1.weight"].nonzero()[0]
    weights["fc1.weight"][tuple(first)] = 0
    save_sparse(path, weights, header)
    problems = "\n".join(found(run))
    for where in ("card.json says kept", "the row in summary.json says kept", "layers.csv says fc1.weight"):
        assert where in problems


def test_a_changed_digit_of_the_header_is_named(run: Run) -> None:
    path = run.directory / run.networks[0].file
    save_sparse(path, load_sparse(path), load_header(path) | {"seed": 7})
    assert f"the header of {path.name} says seed 7, it is 0" in found(run)


def test_a_changed_digit_of_the_summary_is_named(run: Run) -> None:
    def change(summary: Any) -> None:
        summary["rows"][0]["val"] += 1

    edit(run.directory / "summary.json", change)
    (problem,) = found(run)
    assert problem.startswith("the header of paper_sparsity.safetensors says metric ")


def test_a_changed_count_of_the_card_is_named(run: Run) -> None:
    def change(card: Any) -> None:
        card["networks"][0]["layers"]["fc1.bias"]["kept"] += 1

    edit(run.directory / "card.json", change)
    (problem,) = found(run)
    assert problem.startswith("card.json says layers ")


def test_a_changed_worth_is_named(run: Run) -> None:
    def change(card: Any) -> None:
        card["networks"][0]["worth"]["csr_bytes"] += 4

    edit(run.directory / "card.json", change)
    (problem,) = found(run)
    assert problem.startswith("card.json says worth ")


@pytest.mark.parametrize(("factor", "is_told"), [(None, False), (1.01, False), (1.5, True), (0.5, True)])
def test_a_compressed_size_may_be_that_of_another_zlib_and_early_cards_have_none(
    run: Run, factor: float | None, is_told: bool
) -> None:
    def change(card: Any) -> None:
        worth = card["networks"][0]["worth"]
        worth["gzip_bytes"] = factor and round(factor * worth["gzip_bytes"])

    edit(run.directory / "card.json", change)
    assert [problem.startswith("card.json says worth ") for problem in found(run)] == [True] * is_told


def test_a_parameter_that_the_network_does_not_have_is_named(run: Run) -> None:
    path = run.directory / "layers.csv"
    path.write_text(path.read_text().replace("fc1.weight", "fc9.weight"))
    assert 'layers.csv says fc9.weight {"total": 32, "kept":' in (problems := "\n".join(found(run)))
    assert problems.count(", which nothing bears out") == 1


def test_a_network_of_another_structure_is_said_to_be_one(run: Run, setup: Setup) -> None:
    path = run.directory / run.networks[0].file
    save_sparse(path, torch.nn.Linear(2, 2).state_dict())
    with pytest.raises(ValueError, match=r"is a checkpoint of another model: fc1\.bias, which TinyNet has, is missing"):
        rescored(setup, path)


def test_a_row_that_is_gone_is_named(run: Run, setup: Setup) -> None:
    without = replace(run, summary=replace(run.summary, rows=run.summary.rows[1:]))
    assert list(contradictions(setup, without, run.networks[0])) == ["summary.json has no row paper_sparsity"]
    assert list(strays(setup, without, run.networks[0], 0.0)) == []


@pytest.mark.parametrize("sign", [-1, 1])
def test_two_examples_are_rounding_and_three_are_not(run: Run, setup: Setup, sign: int) -> None:
    setup = replace(setup, data=replace(cast(ImageData, setup.data), val=setup.data.train))  # of another number
    recorded = run.summary.rows[0].test  # of 20 images, each 5 points
    assert list(strays(setup, run, run.networks[0], recorded + sign * 10)) == []
    (problem,) = strays(setup, run, run.networks[0], recorded + sign * 15)
    assert problem.endswith("more than 2 of 20 examples apart")


def test_other_test_data_are_named(run: Run, setup: Setup) -> None:
    setup.data.checksums["images"] = "0000"
    problems = list(strays(setup, run, run.networks[0], run.summary.rows[0].test))
    assert problems == ["it was scored on images of checksum d41d8, here it is 0000"]
    del setup.data.checksums["images"]
    problems = list(strays(setup, run, run.networks[0], run.summary.rows[0].test))
    assert problems == ["it was scored on images of checksum d41d8, here it is None"]


def test_the_script_says_each_network_and_fails_on_a_contradiction(
    run: Run, setup: Setup, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    ours = SimpleNamespace(runs=[run])
    monkeypatch.setattr(verify, "chosen", lambda sections, every: [ours])
    monkeypatch.setattr(verify, "stale", lambda results, sections: [])
    monkeypatch.setattr(verify, "of_configuration", lambda ours, trusted: verify.of_run(setup, ours.runs[0]))
    arguments = ["--results", str(run.directory)]
    assert verify.main(arguments) == 0
    printed = capsys.readouterr().out.splitlines()
    assert len(printed) == 3 and all(": agrees" in line for line in printed[:2]) and printed[2] == "all agree"
    path = run.directory / run.networks[0].file
    save_sparse(path, {name: torch.zeros_like(value) for name, value in load_sparse(path).items()})
    assert verify.main(arguments) == 1
    captured = capsys.readouterr()
    assert "contradicted" in captured.out and "CONTRADICTED: " in captured.err


def test_a_network_that_stayed_in_its_run_is_said_and_is_no_contradiction(
    run: Run, setup: Setup, capsys: pytest.CaptureFixture[str]
) -> None:
    (run.directory / run.networks[0].file).unlink()
    assert list(verify.of_run(setup, run)) == []
    assert "not kept with the code" in capsys.readouterr().out


@pytest.mark.parametrize("form", ["compact", "torch", "folder"])
def test_a_file_of_anybodys_is_counted_and_scored(
    run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str], form: str
) -> None:
    network, row = run.directory / run.networks[0].file, run.summary.rows[0]
    weights, asked = load_sparse(network), ["--experiment", "lenet5_mnist"]
    match form:
        case "compact":
            path = tmp_path / "mine.safetensors"
            save_sparse(path, weights, load_header(network) | {"experiment": "lenet5_mnist"})
            asked = []
        case "torch":
            path = tmp_path / "mine.pt"
            torch.save({"state_dict": weights}, path)
        case _:
            path = tmp_path
            save_file(weights, tmp_path / "model.safetensors")
    assert verify.main([str(path), *TINY, *asked]) == 0
    out = capsys.readouterr().out
    assert f"{row.kept} of {row.total} weights are left: sparsity {100 * row.sparsity:.2f} %" in out
    assert f"accuracy on the 20 test examples of tiny: {row.test:.2f}" in out
    truth = run.networks[0].worth
    assert truth is not None and f"{truth.num_weights} (" in out.split("Kept weights, biases apart")[1].split("\n")[0]
    assert ("its header says" in out) == (form == "compact")


def test_times_of_the_very_file_are_shown_where_there_are_any(
    run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    network = run.directory / run.networks[0].file
    dense = {"measured": "latency", "form": "dense", "batch": 8, "milliseconds": 2.5, "quartiles": [2.0, 3.0]}
    add(tmp_path, "a", dense, command="latency", network=hashlib.sha256(network.read_bytes()).hexdigest())
    asked = [str(network), *TINY, "--experiment", "lenet5_mnist", "--results", str(tmp_path)]
    assert verify.main(asked) == 0
    assert "2.5 ms (2 to 3)" in capsys.readouterr().out


def test_a_file_that_does_not_say_what_it_is_has_to_be_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch.save({"weight": torch.ones(1)}, tmp_path / "mine.pt")
    assert verify.main([str(tmp_path / "mine.pt")]) == 1
    assert "does not say of which experiment it is; add --experiment NAME." in capsys.readouterr().err


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (None, "There is no checkpoint at {path}; check the path."),
        (b"", "The checkpoint {path} is empty: have it anew."),
        ("cut", "The checkpoint {path} is damaged ("),
        (b"a picture, say, or a page", "{path} is no checkpoint that torch or safetensors wrote; give a file of its"),
        ("folder", "{path} is a folder; name the checkpoint in it."),
    ],
)
def test_a_file_that_cannot_be_read_is_said_to_be_so_whatever_experiment_it_is_of(
    run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str], content: bytes | str | None, sentence: str
) -> None:
    path = tmp_path / "mine.safetensors"
    match content:
        case bytes():
            path.write_bytes(content)
        case "cut":
            path.write_bytes((run.directory / run.networks[0].file).read_bytes()[:-9])
        case "folder":
            path.mkdir()
    for asked in ([], ["--experiment", "lenet5_mnist"]):
        assert verify.main([str(path), *asked]) == 1
        assert capsys.readouterr().err.startswith(f"error: {sentence.format(path=path)}")


@pytest.fixture
def of_lenet(run: Run, tmp_path: Path) -> Callable[..., Path]:
    """The network of a run with a header that names a known experiment, and `changes`."""

    def changed(**changes: Any) -> Path:
        network, path = run.directory / run.networks[0].file, tmp_path / "ours.safetensors"
        save_sparse(path, load_sparse(network), load_header(network) | {"experiment": "lenet5_mnist"} | changes)
        return path

    return changed


def test_a_network_is_not_scored_on_other_data_than_its_header_says(
    of_lenet: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    assert verify.main([str(of_lenet(splits={"test": "digits/test"})), *TINY]) == 1
    captured = capsys.readouterr()
    assert captured.err == (
        "error: The header says that the network was scored on digits/test, and with these settings that would be "
        "tiny/test: add those of its run that choose the data, such as dataset.source and baseline.\n"
    )
    assert "test examples" not in captured.out


def test_a_network_that_is_not_the_one_its_header_counts_is_not_scored(
    run: Run, of_lenet: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    assert verify.main([str(of_lenet(kept=3)), *TINY]) == 1
    captured = capsys.readouterr()
    said = (
        f"error: The header says kept 3, it is {run.summary.rows[0].kept}: the file was changed since it was written.\n"
    )
    assert captured.err.endswith(said)  # torch may have said first that there is no GPU
    assert "test examples" not in captured.out


@pytest.mark.parametrize("changes", [{"splits": {}}, {"splits": {}, "metric": {"name": "bleu", "test": 5.0}}])
def test_a_header_without_splits_or_of_another_metric_bars_nothing(
    of_lenet: Callable[..., Path], changes: dict[str, Any]
) -> None:
    assert verify.main([str(of_lenet(**changes)), *TINY]) == 0


def test_a_score_that_is_not_the_headers_is_an_error_and_two_examples_are_rounding(
    run: Run, of_lenet: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    test = run.summary.rows[0].test  # of 20 images, each 5 points
    assert verify.main([str(of_lenet(metric={"name": "accuracy", "test": test - 10})), *TINY]) == 0
    assert verify.main([str(of_lenet(metric={"name": "accuracy", "test": test - 15})), *TINY]) == 1
    assert capsys.readouterr().err.endswith(  # torch may have said first that there is no GPU
        f"error: the header says {test - 15:.2f} accuracy on test data, the network has {test:.2f}: more than 2 of 20 "
        "examples apart; add the settings that its run had, such as machine.precision, model.* and dataset.*, as the "
        "header does not hold them.\n"
    )


def test_the_experiments_own_baseline_says_on_which_images_a_network_of_ours_is_scored(
    of_lenet: Callable[..., Path], tmp_path: Path
) -> None:
    ours, anybodys = of_lenet(experiment="vgg16_imagenet"), tmp_path / "anybodys.pt"
    torch.save(load_sparse(ours), anybodys)
    assert config.of_network(ours, None, []).baseline.source == "published"
    assert config.of_network(anybodys, "vgg16_imagenet", []).baseline.source == "none"


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--experiment", "lenet5_mnist"], "--experiment and --row say what a file is: name FILE too."),
        (["--row", "DNS"], "--experiment and --row say what a file is: name FILE too."),
        (["mine.pt", "--all"], "--all and --trust are of the committed networks and their records: leave them out"),
        (["mine.pt", "--trust", "mine"], "--all and --trust are of the committed networks and their records"),
    ],
)
def test_options_that_would_be_ignored_are_refused(
    capsys: pytest.CaptureFixture[str], arguments: list[str], sentence: str
) -> None:
    with pytest.raises(SystemExit) as ended:
        verify.main(arguments)
    assert ended.value.code == 2
    assert f"error: {sentence}" in capsys.readouterr().err


@pytest.mark.skipif(not DNS.is_file(), reason="SPARSITY_DATA_MIRROR has no network of Dynamic Network Surgery")
def test_the_network_of_dynamic_network_surgery_is_what_its_authors_say(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "lenet5.safetensors"
    path.write_bytes(gzip.decompress(DNS.read_bytes()))
    as_trained = ["model.conv_relu=false", "dataset.normalise=by_256", "machine=cpu", f"data_dir={tmp_path}"]
    assert verify.main([str(path), "--experiment", "lenet5_mnist", *as_trained]) == 0
    out = capsys.readouterr().out
    assert "3,993 of 431,080 weights are left: sparsity 99.07 %" in out
    accuracy = float(out.split("test examples of mnist: ")[1].split()[0])
    assert abs(accuracy - 99.09) < 0.025  # by two images: another processor may round otherwise


@pytest.fixture
def recorded(run: Run, tmp_path: Path) -> tuple[Path, list[str]]:
    """Anybody's network, and the command line that records it as a row of a table whose data are the tiny ones."""
    path, paper = tmp_path / "mine.pt", tmp_path / "paper" / "lenet5_mnist.yaml"
    torch.save(load_sparse(run.directory / run.networks[0].file), path)
    paper.parent.mkdir()
    text = (verify.RESULTS / "paper" / paper.name).read_text()
    paper.write_text(text.replace("dataset: mnist", "dataset: tiny_data"))
    return path, [str(path), *TINY, "--experiment", "lenet5_mnist", "--results", str(tmp_path), "--row"]


def test_a_row_of_the_papers_table_is_recorded_for_the_page(
    run: Run, recorded: tuple[Path, list[str]], tmp_path: Path
) -> None:
    path, arguments = recorded
    assert verify.main([*arguments, "DNS"]) == 0
    (record,) = load_rescored(tmp_path, "lenet5_mnist")
    row = run.summary.rows[0]
    assert (record.row, record.num_test) == ("DNS", 20)
    assert record.test == pytest.approx(row.test)
    assert record.sparsity == pytest.approx(row.sparsity)
    assert record.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert load_rescored(tmp_path, "lenet5_fashion_mnist") == []


@pytest.mark.parametrize("row", ["Mine", "../DNS"])
def test_what_is_no_row_of_the_papers_table_is_not_recorded(
    recorded: tuple[Path, list[str]], tmp_path: Path, capsys: pytest.CaptureFixture[str], row: str
) -> None:
    assert verify.main([*recorded[1], row]) == 1
    assert capsys.readouterr().err.startswith(
        f"error: --row {row} is no row of the paper's table of lenet5_mnist; choose one of Baseline; Han et al., 2015; "
    )
    assert not (tmp_path / "rescored").exists()


def test_what_was_scored_on_other_data_than_the_papers_is_not_recorded(
    recorded: tuple[Path, list[str]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert verify.main([*recorded[1], "DNS", "dataset.source=generated"]) == 1
    assert capsys.readouterr().err == (
        "error: --row DNS is of tiny_data as published, not of tiny_data from source generated: score on these, or "
        "without --row.\n"
    )
    assert not (tmp_path / "rescored").exists()


def test_the_record_of_another_file_is_not_replaced(
    run: Run, recorded: tuple[Path, list[str]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, arguments = recorded
    place = tmp_path / "rescored" / "lenet5_mnist-DNS.json"
    assert verify.main([*arguments, "DNS"]) == verify.main([*arguments, "DNS"]) == 0
    before = place.read_text()
    torch.save(load_sparse(run.directory / run.networks[1].file), path)
    assert verify.main([*arguments, "DNS"]) == 1
    assert f"error: {place} records another file, of sha256 " in capsys.readouterr().err
    assert place.read_text() == before
    place.unlink()
    assert verify.main([*arguments, "DNS"]) == 0
    place.write_text("{")
    assert verify.main([*arguments, "DNS"]) == 1
    assert capsys.readouterr().err.endswith("remove it, and write it anew with scripts/verify.py FILE --row ROW.\n")


def test_a_constructor_that_a_record_names_is_not_run_unless_its_module_is_trusted(
    run: Run, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def change(summary: Any) -> None:
        summary["provenance"]["command"] = shlex.join(["python", "scripts/train.py", *TINY])

    edit(run.directory / "summary.json", change)
    ours = SimpleNamespace(runs=[load_run(run.directory)])
    monkeypatch.setattr(verify, "chosen", lambda sections, every: [ours])
    monkeypatch.setattr(verify, "stale", lambda results, sections: [])
    assert verify.main(["--results", str(run.directory)]) == 1
    assert capsys.readouterr().err == (
        f"error: {run.directory}/summary.json names tests.tiny_runs.TinyNet, which is none of this package's "
        "constructors and was not run: if you know that code, add --trust tests.tiny_runs.\n"
    )
    assert verify.main(["--results", str(run.directory), "--trust", "tests.tiny_runs"]) == 0


def test_a_network_is_scored_again_in_the_precision_that_its_run_had_whoever_chose_it() -> None:
    asked = "python scripts/train.py experiment=lenet5_mnist machine=cpu machine.num_threads=1 machine.precision=fp32"
    for command in (asked, "python scripts/train.py experiment=lenet5_mnist"):
        provenance = SimpleNamespace(command=command, products="bf16")  # of what it was resumed with, or auto on a GPU
        run = SimpleNamespace(summary=SimpleNamespace(provenance=provenance))
        words = verify.scored_again([cast(Run, run)])
        assert words == ["experiment=lenet5_mnist", "machine.precision=bf16", "tracking=none"]


@pytest.mark.parametrize("experiment", ["../../mine", "lenet5_mnist,+x=1", "a b"])
def test_a_header_names_an_experiment_and_nothing_else(
    run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str], experiment: str
) -> None:
    network = run.directory / run.networks[0].file
    save_sparse(tmp_path / "a.safetensors", load_sparse(network), load_header(network) | {"experiment": experiment})
    assert verify.main([str(tmp_path / "a.safetensors")]) == 1
    assert f"experiment={experiment} names a folder" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.skipif(not MIRROR, reason="SPARSITY_DATA_MIRROR has no MNIST")
def test_the_committed_networks_bear_out_their_records_and_pages(capsys: pytest.CaptureFixture[str]) -> None:
    assert verify.main([]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "all agree"
