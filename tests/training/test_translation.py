"""Is the loss the network's own, and BLEU what sacrebleu's command line says of the same texts?"""

import json
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import pytest
import torch
from torch import Tensor

from sparsity.benchmark.huggingface import as_inputs
from sparsity.training.beam_search import Search, beam_search
from sparsity.training.bleu import corpus_bleu
from sparsity.training.incremental_decoder import DecoderWeights
from sparsity.training.tasks import WritesText
from sparsity.training.translation import Translation
from tests.rank_threads import together
from tests.recorded_graph import Recorder
from tests.training.tiny_bart import BOS, EOS, PAD, Pairs, copier, pairs, sources, tiny_bart

NUM_SENTENCES = 20


class FakeText:
    """A split whose sources are to be repeated; token 7 is written "w7", batches are sorted by length."""

    bos_id, eos_id, pad_id = BOS, EOS, PAD
    subsets: Mapping[str, Sequence[int]] = {"odd": range(1, NUM_SENTENCES, 2)}

    def __init__(self, batch_size: int = 8, is_gate: bool = True) -> None:
        self.is_gate = is_gate
        self.ids, self.mask = sources(NUM_SENTENCES, longest=12, seed=5)
        self.references = self.decode(self.ids)
        self.batches = self.mask.sum(1).argsort().split(batch_size)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        return ((places, self.ids[places], self.mask[places]) for places in self.batches)

    def loss_batches(self) -> Iterator[Pairs]:
        return (pairs(self.ids[places], self.mask[places]) for places in self.batches)

    def decode(self, ids: Tensor) -> list[str]:
        return [" ".join(f"w{token}" for token in row if token not in (BOS, EOS, PAD)) for row in ids.tolist()]


class SharedText(FakeText):
    """The same, of which a rank may have some batches."""

    def share(self, place: int, size: int) -> "SharedText":
        share = SharedText()
        share.batches = self.batches[place::size]
        return share


def evaluate(batch_size: int = 8, **settings: object) -> tuple[Translation, dict[str, float]]:
    task = Translation(num_beams=3, max_length=20, **settings)
    metrics = task.evaluate(copier(), FakeText(batch_size))
    return task, {name: float(value) for name, value in metrics.items()}


@pytest.mark.parametrize("chunk_tokens", [10, 10_000])
def test_loss_and_gradients_are_the_networks_own(chunk_tokens: int) -> None:
    model, batch = tiny_bart(init_std=0.1), pairs(*sources(9))
    model.final_logits_bias.normal_(generator=torch.Generator().manual_seed(0))
    expected = model(**as_inputs(batch)).loss
    loss, _ = Translation(chunk_tokens=chunk_tokens).forward(model, batch)
    torch.testing.assert_close(loss, expected, rtol=1e-6, atol=1e-6)
    parameters = list(model.parameters())
    gradients = torch.autograd.grad(loss, parameters), torch.autograd.grad(expected, parameters)
    torch.testing.assert_close(*gradients, rtol=1e-5, atol=1e-6)


def test_a_step_asks_the_device_for_nothing() -> None:
    model, batch = tiny_bart(), pairs(*sources(9))
    with Recorder() as recorder:
        Translation().forward(model, batch)[0].backward()
    assert recorder.operations


def test_padding_counts_nothing() -> None:
    batch = pairs(*sources(9))
    loss, hidden = Translation().forward(tiny_bart(), batch)
    assert len(hidden) == int(batch.attention_mask.sum())
    ids = torch.nn.functional.pad(batch.input_ids, (0, 3), value=PAD)
    mask = torch.nn.functional.pad(batch.attention_mask, (0, 3))
    torch.testing.assert_close(Translation().forward(tiny_bart(), pairs(ids, mask))[0], loss)


def test_where_padding_counts_no_target_reads_it_all_the_same() -> None:
    model, (ids, mask) = tiny_bart(init_std=0.1), sources(9)
    labelled = pairs(ids, mask)._replace(labels=ids, counted=torch.arange(ids.numel()))
    expected = model(**as_inputs(labelled), decoder_attention_mask=mask).loss
    loss, hidden = Translation(padding_counts=True).forward(model, labelled)
    assert len(hidden) == ids.numel() > int(mask.sum())
    torch.testing.assert_close(loss, expected, rtol=1e-6, atol=1e-6)
    parameters = list(model.parameters())
    gradients = torch.autograd.grad(loss, parameters), torch.autograd.grad(expected, parameters)
    torch.testing.assert_close(*gradients, rtol=1e-5, atol=1e-6)


def test_label_smoothing_is_torchs_and_off_by_default() -> None:
    model, batch = tiny_bart(), pairs(*sources(9))
    logits = model(**as_inputs(batch)).logits
    expected = torch.nn.functional.cross_entropy(logits.flatten(0, 1), batch.labels.flatten(), label_smoothing=0.1)
    torch.testing.assert_close(Translation(label_smoothing=0.1).forward(model, batch)[0], expected)


def test_the_evaluation_loss_counts_each_token_once_whatever_the_batches() -> None:
    text = FakeText()
    expected = copier()(**as_inputs(pairs(text.ids, text.mask))).loss.item()
    for batch_size in (3, 20):
        assert evaluate(batch_size, label_smoothing=0.1)[1]["loss"] == pytest.approx(expected, rel=1e-5)


def test_hypotheses_stand_in_the_order_of_the_split() -> None:
    task, metrics = evaluate()
    text, model = FakeText(), cast(Any, copier())  # its types forbid what its documentation shows
    plain = model.generate(input_ids=text.ids, attention_mask=text.mask, num_beams=3, length_penalty=0.6, max_length=20)
    assert task.hypotheses == text.decode(plain)
    assert metrics["bleu"] == corpus_bleu(task.hypotheses, text.references, "13a").score


def test_no_more_sentences_are_searched_at_once_than_fit_and_the_texts_stay_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    whole, sizes = evaluate()[0].hypotheses, []

    def watched(weights: DecoderWeights, encoded: Tensor, *rest: Any) -> Tensor:
        sizes.append(len(encoded))
        return beam_search(weights, encoded, *rest)

    monkeypatch.setattr("sparsity.training.translation.beam_search", watched)
    monkeypatch.setattr("sparsity.training.translation.most_sentences", lambda weights, search: 3)
    assert evaluate()[0].hypotheses == whole
    assert sizes == [3, 3, 2, 3, 3, 2, 3, 1]


@pytest.mark.parametrize("was_training", [True, False])
def test_the_evaluation_leaves_the_model_in_the_mode_it_was_in(was_training: bool) -> None:
    model = tiny_bart(dropout=0.9).train(was_training)
    first, second = (Translation(max_length=10).evaluate(model, FakeText()) for _ in range(2))
    assert model.training == was_training
    assert first == second, "dropout should be off"


SIX_DRAWN = [4, 5, 7, 13, 14, 19]  # of 20, by which runs are comparable


def test_a_fixed_draw_of_the_validation_sentences_is_scored() -> None:
    task, metrics = evaluate(num_sentences=6)
    whole, places = evaluate()[0].hypotheses, task._chosen(FakeText())
    assert places == SIX_DRAWN
    assert task.hypotheses == [whole[place] for place in places]
    references = [FakeText().references[place] for place in places]
    assert metrics["bleu"] == corpus_bleu(task.hypotheses, references, "13a").score


def test_a_test_split_is_scored_whole() -> None:
    task = Translation(num_beams=3, max_length=20, num_sentences=6)
    task.evaluate(copier(), FakeText(is_gate=False))
    assert task.hypotheses == evaluate()[0].hypotheses


def test_the_start_may_stand_twice_before_the_texts(monkeypatch: pytest.MonkeyPatch) -> None:
    text = FakeText()
    monkeypatch.setattr(text, "decode", lambda ids: [str(row[:2]) for row in ids.tolist()])
    task = Translation(max_length=10, bos_twice=True)
    task.evaluate(copier(), text)
    assert set(task.hypotheses) == {str([BOS, BOS])}


def test_texts_are_searched_as_the_settings_and_an_end_that_the_model_forces_say() -> None:
    model = tiny_bart()
    model.generation_config.forced_eos_token_id = EOS
    search = Translation(num_beams=6, length_penalty=1.2, max_length=10)._search(model, FakeText())
    assert search == Search(6, 1.2, 10, BOS, EOS, PAD, forced=((9, EOS),))


@pytest.mark.parametrize("tokenize", ["13a", "intl"])
def test_bleu_is_that_of_sacrebleus_command_line(tmp_path: Path, tokenize: str) -> None:
    references = ["Das ist – sagt er – „gut“, nicht wahr?", "2.5 % von 1,000 Leuten: ja!", "Ein Haus-Boot (alt)."]
    hypotheses = ["Das ist, sagt er, „gut“, oder?", "2.5% von 1.000 Leuten: ja!", "Ein Hausboot (sehr alt)."]
    for name, lines in (("hypotheses.txt", hypotheses), ("references.txt", references)):
        (tmp_path / name).write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    command = [sys.executable, "-m", "sacrebleu", "references.txt", "-i", "hypotheses.txt", "-m", "bleu", "-w", "6"]
    said = json.loads(subprocess.check_output([*command, "--tokenize", tokenize], cwd=tmp_path, text=True))
    ours = corpus_bleu(hypotheses, references, tokenize)
    assert ours.score == pytest.approx(said["score"], abs=1e-6)
    assert ours.signature == said["signature"]
    ratio = f"BP = {ours.brevity_penalty:.3f} ratio = {ours.length_ratio:.3f}"
    assert ratio in said["verbose_score"]
    assert "/".join(f"{p:.1f}" for p in ours.precisions) in said["verbose_score"]


def test_its_texts_are_kept_by_a_phase() -> None:
    assert isinstance(Translation(), WritesText)


@pytest.mark.parametrize(("is_international", "main"), [(False, "bleu_13a"), (True, "bleu_intl")])
def test_all_definitions_of_bleu_are_reported_with_their_signatures(is_international: bool, main: str) -> None:
    task, metrics = evaluate(international_bleu=is_international)
    references = FakeText().references
    for name, tokenize in {"bleu_13a": "13a", "bleu_intl": "intl", "bleu_compound": "compound"}.items():
        expected = corpus_bleu(task.hypotheses, references, tokenize)
        assert (metrics[name], task.signatures[name]) == (expected.score, expected.signature)
    assert (metrics["bleu"], task.signatures["bleu"]) == (metrics[main], task.signatures[main])


def test_a_subset_of_a_split_is_scored_by_each_definition_without_another_search() -> None:
    task, metrics = evaluate()
    places = range(1, NUM_SENTENCES, 2)
    texts = [task.hypotheses[place] for place in places], [FakeText().references[place] for place in places]
    for name, tokenize in {"bleu_13a": "13a", "bleu_intl": "intl", "bleu_compound": "compound"}.items():
        assert metrics[f"{name}/odd"] == corpus_bleu(*texts, tokenize).score
    assert not [name for name in evaluate(num_sentences=6)[1] if "/" in name], "a draw does not hold the subset"


def test_compounds_are_split_at_each_hyphen_between_characters() -> None:
    texts = ["ein Rich-Text-Teil - ja"], ["ein Poor-Text-Teil - ja"]
    assert corpus_bleu(*texts, "13a").precisions[0] == pytest.approx(100 * 3 / 4)
    split = corpus_bleu(*texts, "compound")
    assert split.precisions[0] == pytest.approx(100 * 7 / 8), "ein, Rich, -, Text, -, Teil, -, ja"
    assert "tok:13a-compounds-split" in split.signature


def test_texts_without_a_reference_each_are_refused() -> None:
    with pytest.raises(ValueError, match="got 1 hypotheses and 2 references"):
        corpus_bleu(["a"], ["a", "b"], "13a")


def test_what_is_compiled_is_what_the_loss_calls() -> None:
    model, calls = tiny_bart(), []
    called = Translation().called(model)
    called.register_forward_hook(lambda *_: calls.append("called"))
    Translation().forward(model, next(iter(FakeText().loss_batches())))
    assert calls == ["called"]


def test_ranks_score_a_split_together_as_one_process_does() -> None:
    models, text = [copier() for _ in range(2)], SharedText()
    alone, metrics = evaluate()

    def scored(rank: int) -> tuple[list[str], dict[str, float]]:
        task = Translation(num_beams=3, max_length=20)
        found = task.evaluate(models[rank], text)
        return task.hypotheses, {name: float(value) for name, value in found.items()}

    for hypotheses, found in together(2, scored):
        assert hypotheses == alone.hypotheses
        assert found == pytest.approx(metrics, rel=1e-6)
