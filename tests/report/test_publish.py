"""Finished full-size runs are copied next to the code, once and whole."""

import json
from pathlib import Path

import pytest

from sparsity.report import publish as module
from sparsity.report.publish import publish, write_atomically
from tests.report.fake_results import AddRun


def test_the_three_records_are_copied_and_nothing_else(results: Path, add_finished: AddRun) -> None:
    source = add_finished()
    (source / "metrics.jsonl").write_text("{}")
    (target,) = publish(results)
    assert target == results / "lenet5_mnist" / "paper-relevance-ab12cd34ef56" / "seed0"
    assert sorted(path.name for path in target.iterdir()) == ["curve.jsonl", "layers.csv", "summary.json"]
    assert (target / "summary.json").read_bytes() == (source / "summary.json").read_bytes()


def hand_on(run: Path, start: str, num_bytes: int) -> dict[str, object]:
    """A network of a run, of zeros, as the card lists it."""
    path = run / "networks" / f"{start}.safetensors"
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(bytes(num_bytes))
    counts = {"total": 431080, "kept": 1214, "layers": {}}
    return {"start": start, "file": f"networks/{start}.safetensors", "bytes": num_bytes, "sha256": "", **counts}


def test_small_networks_are_copied_and_large_ones_stay(results: Path, add_finished: AddRun) -> None:
    source = add_finished()
    networks = [hand_on(source, "paper_sparsity", 6_000_000), hand_on(source, "last", 6_000_001)]
    (source / "card.json").write_text(json.dumps({"schema": 1, "networks": networks}))
    (target,) = publish(results)
    assert [path.name for path in (target / "networks").iterdir()] == ["paper_sparsity.safetensors"]
    assert (target / "card.json").read_bytes() == (source / "card.json").read_bytes()
    assert publish(results) == []


def test_a_damaged_card_is_not_published(results: Path, add_finished: AddRun) -> None:
    (add_finished() / "card.json").write_text('{"schema": 1, "networks": [{"start": "last"}]}')
    with pytest.raises(ValueError, match=r"card.json cannot be used: networks\[0\].file is missing"):
        publish(results)


@pytest.mark.parametrize("scale", ["smoke", "rehearsal"])
def test_small_scales_are_not_published(results: Path, add_finished: AddRun, scale: str) -> None:
    add_finished(scale=scale)
    assert publish(results) == []


def test_the_summary_is_written_when_all_else_is_there(
    results: Path, add_finished: AddRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    add_finished()
    written: list[str] = []
    monkeypatch.setattr(module, "write_atomically", lambda path, content: written.append(path.name))
    publish(results)
    assert written == ["layers.csv", "curve.jsonl", "summary.json"]


def test_publishing_twice_changes_nothing(results: Path, add_finished: AddRun) -> None:
    add_finished()
    (target,) = publish(results)
    before = {path: path.stat().st_mtime_ns for path in target.iterdir()}
    assert publish(results) == []
    assert {path: path.stat().st_mtime_ns for path in target.iterdir()} == before


def test_a_repeated_run_replaces_what_was_published(results: Path, add_finished: AddRun) -> None:
    source = add_finished()
    publish(results)
    (source / "curve.jsonl").write_text("")
    (target,) = publish(results)
    assert (target / "curve.jsonl").read_text() == ""


@pytest.mark.parametrize("starts", [["last"], []])
def test_a_repeated_run_leaves_no_network_of_the_one_before(
    results: Path, add_finished: AddRun, starts: list[str]
) -> None:
    source = add_finished()
    (source / "card.json").write_text(
        json.dumps({"schema": 1, "networks": [hand_on(source, start, 4) for start in ("paper_sparsity", "last")]})
    )
    (target,) = publish(results)
    (target / "networks" / "README.md").write_text("the card of a model")
    summary = json.loads((source / "summary.json").read_text())
    (source / "summary.json").write_text(json.dumps({**summary, "seconds": 7}))
    (source / "card.json").unlink()
    if starts:
        networks = [hand_on(source, start, 4) for start in starts]
        (source / "card.json").write_text(json.dumps({"schema": 1, "networks": networks}))
    assert publish(results) == [target]
    assert [path.stem for path in (target / "networks").iterdir()] == starts
    assert (target / "card.json").exists() is bool(starts)


def test_a_record_without_its_networks_takes_none_from_the_published_one(results: Path, add_finished: AddRun) -> None:
    source = add_finished()
    (source / "card.json").write_text(json.dumps({"schema": 1, "networks": [hand_on(source, "last", 4)]}))
    (target,) = publish(results)
    (source / "card.json").unlink()
    assert publish(results) == []
    assert (target / "networks" / "last.safetensors").is_file() and (target / "card.json").is_file()


def test_a_damaged_run_is_not_published(results: Path, add_finished: AddRun) -> None:
    (add_finished() / "layers.csv").write_text("start\nlast\n")
    with pytest.raises(ValueError, match=r"layers.csv cannot be used"):
        publish(results)
    assert not (results / "lenet5_mnist").exists()


def test_a_failed_write_leaves_the_old_file_and_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "file"
    write_atomically(path, b"old")

    def full(*_: object) -> None:
        raise OSError("No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="No space"):
        write_atomically(path, b"new")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_is_replaced_and_never_written_in_place(tmp_path: Path) -> None:
    path, reader = tmp_path / "file", tmp_path / "as_a_reader_holds_it"
    write_atomically(path, b"old")
    reader.hardlink_to(path)
    write_atomically(path, b"new")
    assert (path.read_bytes(), reader.read_bytes()) == (b"new", b"old")
