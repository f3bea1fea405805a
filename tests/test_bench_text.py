"""The benchmark on text compares equals: the same loss, the same micro-batches, the same texts."""

import importlib.util
import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from scripts import bench
from sparsity.benchmark import ctranslate, huggingface, losses, searching, text
from sparsity.benchmark.huggingface import Feed
from sparsity.benchmark.timing import speedup
from sparsity.data.texts.generated_ids import numbered_words
from sparsity.data.texts.seq2seq import EvaluationText
from sparsity.run.workspace import Workspace
from sparsity.special_tokens import IGNORED

TINY = ("model.width=16", "model.ffn_width=16", "model.num_heads=2", "model.vocabulary_size=200", "task.max_length=12")
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def work() -> Iterator[Workspace]:
    """A tiny Transformer with accumulation, on the small embedded texts."""
    more = (*TINY, "regularise.batch_size=12", "regularise.micro_batches=3", "model.vocabulary_size=512")
    with bench.workspace("transformer_wmt14", "cpu", 1, "embedded", "smoke", more) as workspace:
        yield workspace


def test_one_command_gives_all_figures_on_text(capsys: pytest.CaptureFixture[str]) -> None:
    options = ("--machine", "cpu", "--threads", "1", "--rounds", "2", "--sentences", "4", "--lessons", "2")
    sizes = ("regularise.batch_size=12", "regularise.micro_batches=3", *TINY)
    bench.main(["text", "--experiment", "transformer_wmt14", "--scale", "smoke", *options, *sizes])
    measurements = {row["measured"]: row for row in map(json.loads, capsys.readouterr().out.splitlines())}
    rival = "trainer" if huggingface.has_trainer() else "plain loop"
    assert measurements["same loss"]["max_abs_difference"] <= 1e-4
    assert measurements[f"{rival} step"]["seconds"] > 0 and measurements["relevance training"]["tokens_per_second"] > 0
    assert measurements[f"{rival} / relevance"]["ratio"] > 0
    texts = measurements[
        "identical texts"
    ]  # how many are, rounding decides: so short a lesson leaves all tokens nearly tied
    assert (texts["sentences"], texts["at_least"], texts["met"]) == (4, 4, texts["identical"] == 4)
    assert measurements["generate"]["sentences_per_second"] > 0


def test_without_accelerate_a_loop_by_hand_stands_in_and_that_is_said(
    work: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(text, "has_trainer", lambda: False)
    notes = [measured for measured in text.training_measurements(work, 2, 1) if measured["measured"] == "note"]
    assert [note["sentence"].startswith("the Hugging Face Trainer needs the package accelerate") for note in notes]


@pytest.mark.skipif(not huggingface.has_trainer(), reason="the Trainer needs accelerate")
def test_the_trainer_makes_the_update_of_the_loop_by_hand(work: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    one, other = work.new_model().eval(), work.new_model().eval()
    monkeypatch.setattr(type(one), "train", lambda model, mode=True: model)  # no dropout
    settings, execution = work.settings.regularise, work.execution
    huggingface.trainer_step(one, text.feed_of(work), settings, execution, work.directory)()
    huggingface.plain_step(other, text.feed_of(work), settings, execution)()
    for (name, a), b in zip(one.named_parameters(), other.parameters(), strict=True):
        assert name.endswith("k_proj.bias") or torch.allclose(a, b, atol=1e-5), name


def test_the_loop_by_hand_learns_what_ours_learns_without_a_penalty(work: Workspace) -> None:
    ours, theirs = work.phase("regularise", work.settings.regularise, 0), work.new_model()
    step = huggingface.plain_step(theirs, text.feed_of(work), work.settings.regularise, work.execution)
    for _ in range(2):
        ours.trainer.train_step()
        step()
    rate = work.settings.regularise.optimizer.lr
    for (name, a), b in zip(ours.model.named_parameters(), theirs.parameters(), strict=True):
        if not name.endswith("k_proj.bias"):  # attention does not depend on it: its gradient is rounding alone
            # Adam divides by the size of the gradient: where that is next to nothing, rounding may turn a step around
            assert ((a - b).abs() < 0.1 * rate).float().mean() > 0.9, name


def test_another_loss_stops_the_benchmark(work: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    task = work.experiment.task
    forward = task.forward
    monkeypatch.setattr(task, "forward", lambda model, batch: (1.01 * forward(model, batch)[0], None))
    with pytest.raises(ValueError, match=r"differ by .*, and 1e-04 is allowed"):
        list(text.training_measurements(work, 2, 1))


def test_the_micro_batches_of_a_step_are_those_of_our_loop(work: Workspace) -> None:
    ours = work.phase("regularise", work.settings.regularise, 0, is_regularised=True)
    seen: list[Any] = []
    at = ours.trainer.batches.at

    def seen_at(position: Tensor, step: int) -> Any:
        seen.append(at(position, step))
        return seen[-1]

    ours.trainer.batches.at = seen_at  # type: ignore[method-assign]
    for _ in range(2):
        ours.trainer.train_step()
    feed = text.feed_of(work)
    given = [*feed.step(0), *feed.step(1)]
    assert len(given) == len(seen) == 6
    assert all(torch.equal(a.input_ids, b.input_ids) for a, b in zip(given, seen, strict=True))


def test_a_feed_goes_on_in_the_next_epoch_with_another_order(work: Workspace) -> None:
    batches = work.data.training_batches(4, 0, "regularise")
    feed = Feed(batches, 3, CPU)
    per_epoch = batches.steps_per_epoch // 3
    assert not torch.equal(feed.step(0)[0].input_ids, feed.step(per_epoch)[0].input_ids)


def test_tokens_are_counted_without_padding(work: Workspace) -> None:
    parts = text.feed_of(work).step(0)
    real = sum(int((part.input_ids != 1).sum()) + int((part.labels >= 0).sum()) for part in parts)
    assert text.num_tokens(text.feed_of(work), 0) == real < sum(part.input_ids.numel() * 2 for part in parts)


def test_counting_has_the_lengths_of_its_model_and_names_its_goal(work: Workspace) -> None:
    val: Any = work.data.val
    task = searching.counting(val, 3, 512)
    for place in range(3):
        assert len(task.targets.row(place)) == len(val.targets.row(place))
        assert len(task.sources.row(place)) == len(val.sources.row(place))
        assert task.sources.row(place)[1] == 511 - (len(task.targets.row(place)) - 2)


@pytest.fixture(scope="module")
def counting(work: Workspace) -> tuple[Any, EvaluationText]:
    """A network that was taught to count, and what it counts."""
    data = replace(text.check_is_text(work), decode_ids=numbered_words)
    split, model = searching.counting(data.val, 24, 512), work.new_model()
    searching.teach(work, model, replace(data, train=split), 120)
    return model, data.evaluation_batches(split)


def test_a_network_that_was_taught_to_count_ends_its_sentences(
    work: Workspace, counting: tuple[Any, EvaluationText]
) -> None:
    written = searching.our_texts(work, *counting)
    measured = searching.taught(counting[1].split, written, 120)
    assert measured["mean_words"] == pytest.approx(measured["wanted_mean_words"], abs=2)


@pytest.mark.skipif(importlib.util.find_spec("ctranslate2") is None, reason="CTranslate2 is not there")
def test_ctranslate2_writes_what_our_search_writes(work: Workspace, counting: tuple[Any, EvaluationText]) -> None:
    assert ctranslate.engine_search(work, *counting)() == searching.our_texts(work, *counting)


def test_without_ctranslate2_the_other_searches_are_timed_and_that_is_said(
    work: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    measured = list(searching.search_measurements(work, text.check_is_text(work), 2, 2, 1))
    assert [each["sentence"] for each in measured if each["measured"] == "note"] == [f"{ctranslate.WHY_LEFT_OUT}."]
    assert not any(each["measured"].startswith("ctranslate2") for each in measured)


def test_the_loss_is_held_against_the_products_of_as_many_tokens_as_count(work: Workspace) -> None:
    batch = text.feed_of(work).step(0)[0]
    loss, ratio = losses.loss_measurements(work, batch, 2)
    assert (loss["tokens"], loss["vocabulary"]) == (int((batch.labels != IGNORED).sum()), 512)
    assert ratio["measured"] == "loss / products" and ratio["ratio"] > 0


def test_more_sentences_than_there_are_is_refused(work: Workspace) -> None:
    with pytest.raises(ValueError, match=r"--sentences is 10000, but .* allows 1 to \d+: change it"):
        searching.counting(text.check_is_text(work).val, 10_000, 512)


def test_identical_texts_are_demanded_in_fp32_and_counted_in_bf16() -> None:
    assert searching.agreement(["a", "b"], ["a", "c"], "fp32")["met"] is False
    assert "met" not in searching.agreement(["a", "b"], ["a", "c"], "bf16")


def test_a_speedup_is_held_against_its_target_on_a_gpu_only() -> None:
    assert "met" not in speedup("a / b", [2.0, 2.0], [1.0, 1.0], 1.5, CPU)
    assert speedup("a / b", [2.0, 2.0], [1.0, 1.0], 1.5, torch.device("cuda"))["met"] is True


def test_images_are_no_texts() -> None:
    arguments = ["text", "--experiment", "lenet5_mnist", "--machine", "cpu"]
    with pytest.raises(SystemExit, match=r"^error: generated-.* holds no texts: time transformer_wmt14"):
        bench.main(arguments)
