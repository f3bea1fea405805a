"""A run may start from a network that others publish, if it fits, suits the data and cannot cheat the gate."""

import hashlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from sparsity.data.published.checkpoints import PUBLISHED, PublishedCheckpoint
from sparsity.data.published.download import RemoteFile
from sparsity.report.paper import load_paper
from sparsity.settings import BaselineSettings
from tests.tiny_runs import TinyNet, TinyRun, tiny_run

REPOSITORY = Path(__file__).resolve().parents[2]


def test_a_model_without_a_published_checkpoint_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError) as caught:
        tiny_run(tmp_path, baseline=BaselineSettings(source="published"))
    assert str(caught.value) == (
        "No published checkpoint is known for tinynet on tiny_data; use baseline=train, baseline=file or baseline=none."
    )


@pytest.fixture
def publish(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., TinyRun]:
    """Run from a tiny network that is published with `changes` to its entry."""

    def run(**changes: Any) -> TinyRun:
        path = tmp_path / "mirror" / "checkpoints" / "tiny.th"
        path.parent.mkdir(parents=True)
        torch.save({"state_dict": {f"module.{name}": value for name, value in TinyNet().state_dict().items()}}, path)
        file = RemoteFile("checkpoints/tiny.th", (), sha256=hashlib.sha256(path.read_bytes()).hexdigest())
        entry = PublishedCheckpoint(file, ("tiny/train",), 50.0, "a page", "MIT")
        monkeypatch.setitem(PUBLISHED, ("tinynet", "tiny_data"), replace(entry, **changes))
        monkeypatch.setenv("SPARSITY_DATA_MIRROR", str(tmp_path / "mirror"))
        baseline = BaselineSettings(source="published")
        return tiny_run(tmp_path, baseline=baseline, data_dir=str(tmp_path / "data"))

    return run


def test_a_published_checkpoint_is_measured_and_on_the_record(publish: Callable[..., TinyRun]) -> None:
    baseline = publish().summary["baseline"]
    assert (baseline["source"], baseline["checkpoint"], baseline["saw"]) == ("published", "tiny.th", ["tiny/train"])
    assert 0 <= baseline["val"] <= 100 and 0 <= baseline["test"] <= 100


def test_a_published_checkpoint_that_saw_the_validation_data_is_refused(publish: Callable[..., TinyRun]) -> None:
    with pytest.raises(ValueError, match="tiny/val may be contaminated and cannot gate it"):
        publish(saw=("tiny/train", "tiny/val"))


def test_a_checkpoint_that_was_chosen_on_the_test_set_says_so_at_the_start_and_on_the_record(
    publish: Callable[..., TinyRun], caplog: pytest.LogCaptureFixture
) -> None:
    summary = publish(chosen_on=("tiny/test",)).summary
    assert summary["baseline"]["chosen_on"] == ["tiny/test"]
    assert "tiny.th was chosen on tiny/test by its author's own word (a page)" in caplog.text


def test_a_copy_of_a_published_checkpoint_is_known_by_its_content(
    publish: Callable[..., TinyRun], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    publish(chosen_on=("tiny/test",))
    caplog.clear()
    copy = (tmp_path / "mirror" / "checkpoints" / "tiny.th").rename(tmp_path / "mine.pt")
    baseline = tiny_run(tmp_path, baseline=BaselineSettings(source="file", path=str(copy))).summary["baseline"]
    assert (baseline["saw"], baseline["chosen_on"]) == (["tiny/train"], ["tiny/test"])
    assert "tiny.th was chosen on tiny/test by its author's own word (a page)" in caplog.text


def test_the_page_says_of_each_published_checkpoint_that_was_chosen_on_test_data_that_it_was() -> None:
    experiments = load_paper(REPOSITORY / "results" / "paper")
    said = {(each.model, each.dataset) for each in experiments if each.published_checkpoint}
    assert said == {place for place, checkpoint in PUBLISHED.items() if checkpoint.chosen_on} != set()


def test_a_published_checkpoint_wants_the_data_of_its_training(publish: Callable[..., TinyRun]) -> None:
    with pytest.raises(ValueError) as caught:
        publish(dataset={"source": "real"})
    assert str(caught.value) == (
        "tiny.th was trained with dataset.source=real, but here it is generated: set dataset.source=real."
    )
