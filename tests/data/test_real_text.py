"""The stand-ins of a local mirror are read whole and called by their own names. Runs where a local mirror is set."""

import os
from pathlib import Path

import pytest
import torch

from sparsity.data import text
from sparsity.data.text import TextData
from sparsity.data.texts import corpora, newstest

pytestmark = pytest.mark.skipif("SPARSITY_DATA_MIRROR" not in os.environ, reason="SPARSITY_DATA_MIRROR is not set")
SETTINGS = dict(max_tokens=254, batch_by="sentences", length_multiple=8, widths=[], baseline="none")


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def dialogues(data_dir: str) -> TextData:
    return text.taskmaster1("standin", data_dir, vocabulary_size=2_000, **SETTINGS)


def test_the_dialogues_give_the_recorded_number_of_pairs(dialogues: TextData) -> None:
    assert (len(dialogues.train), len(dialogues.val), len(dialogues.test)) == (5_610, 720, 665)


def test_the_dialogues_are_never_called_taskmaster1(dialogues: TextData) -> None:
    names = [dialogues.name, dialogues.train.identity, dialogues.val.identity, dialogues.test.identity]
    assert names == ["taskmaster-mini", *(f"taskmaster-mini/{part}" for part in ("train", "dev", "test"))]


def test_a_part_of_taskmaster1_has_its_recorded_sizes_and_its_own_name(data_dir: str) -> None:
    part = text.taskmaster1("taskmaster1-part", data_dir, vocabulary_size=2_000, **SETTINGS)
    splits = {split.identity: len(split) for split in (part.train, part.val, part.test)}
    names = [f"taskmaster1-part/{name}" for name in ("train", "dev", "test")]
    assert splits == dict(zip(names, (8_645, 1_335, 1_140), strict=True))


def test_speakers_alternate_so_that_both_pairings_agree(data_dir: str) -> None:
    pairings = [list(corpora.mini_taskmaster(data_dir, positional).parts["dev"]) for positional in (False, True)]
    assert pairings[0] == pairings[1]


def test_a_context_and_its_reply_come_back_from_their_ids(dialogues: TextData) -> None:
    split = dialogues.train
    source, reply = dialogues.decode_ids([split.sources.row(1).tolist(), split.targets.row(1).tolist()])
    assert source.startswith("one Chai Latte please is the order displayed correct")
    assert reply == "ok, then you can pick up your drink over at the bar in a few minutes."


def test_batches_of_dialogues_are_padded_little(dialogues: TextData) -> None:
    stream = dialogues.training_batches(50, seed=0, kind="regularise")
    stream.start_epoch(0)
    masks = [stream.at(torch.tensor(step), step).attention_mask.float() for step in range(stream.steps_per_epoch)]
    assert torch.cat([mask.flatten() for mask in masks]).mean() > 0.8


def test_the_pairs_of_sentences_are_those_of_the_mirror(data_dir: str) -> None:
    corpus = corpora.mini_wmt14(data_dir)
    first = next(iter(corpus.parts["train"]))
    assert first == ("Resumption of the session", "Wiederaufnahme der Sitzungsperiode")
    counts = {part: sum(1 for _ in pairs) for part, pairs in corpus.parts.items()}
    assert counts == {"train": 94_485, "newstest2013": 3_000, "newstest2014": 3_003}


def test_the_filtered_test_set_is_that_of_the_mirror() -> None:
    listed = Path(os.environ["SPARSITY_DATA_MIRROR"]) / "wmt14-mini" / "newstest2014.stanford2737.idx"
    assert newstest.filtered() == sorted(map(int, listed.read_text().split()))


@pytest.mark.slow
def test_the_sentences_are_never_called_wmt14(data_dir: str) -> None:
    data = text.wmt14("standin", data_dir, vocabulary_size=8_000, **SETTINGS)
    assert (data.name, data.test.identity) == ("wmt14-mini", "wmt14-mini/newstest2014")
    assert len(data.evaluation_batches(data.test).references) == 3_003
