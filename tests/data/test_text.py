"""The builders of text data: what they load they call by its name, tokenise once, and split as announced."""

import gzip
import json
import logging
import re
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from sparsity.data import text
from sparsity.data.published.catalogue import FILES
from sparsity.data.published.download import DataError
from sparsity.data.sizes import SplitSizes, split_sizes
from sparsity.data.text import TextData
from sparsity.data.texts import corpora, prepared
from sparsity.data.texts.corpora import Corpus, HubColumn
from sparsity.data.texts.tokenizer import train_tokenizer

SETTINGS = dict(
    vocabulary_size=512, max_tokens=254, batch_by="sentences", length_multiple=8, widths=[], baseline="none"
)


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(tmp_path_factory.mktemp("data"))


def load(name: str, data_dir: str, source: str = "embedded", **changes: object) -> TextData:
    build: Callable[..., TextData] = getattr(text, name)
    return build(source=source, data_dir=data_dir, **(SETTINGS | changes))


@pytest.mark.parametrize(("name", "corpus"), [("wmt14", "toy-translation"), ("taskmaster1", "toy-dialogues")])
def test_the_embedded_twin_is_called_by_its_own_name(name: str, corpus: str, data_dir: str) -> None:
    data = load(name, data_dir)
    assert data.name == corpus
    assert all(split.identity.startswith(f"{corpus}/") for split in (data.train, data.val, data.test))
    assert SplitSizes(len(data.train), len(data.val), len(data.test)) == split_sizes(name, "embedded")
    assert data.checksums == {}


def test_references_are_the_plain_targets(data_dir: str) -> None:
    data = load("taskmaster1", data_dir)
    evaluation = data.evaluation_batches(data.val)
    targets = [data.val.targets.row(index).tolist() for index in range(len(data.val))]
    assert evaluation.references == data.decode_ids(targets)
    assert "" in evaluation.references  # <no_response>
    assert not any("<" in reference for reference in evaluation.references)


def test_of_the_split_that_gates_alone_a_draw_may_be_scored(data_dir: str) -> None:
    data = load("taskmaster1", data_dir)
    assert [data.evaluation_batches(split).is_gate for split in (data.val, data.test)] == [True, False]


def test_a_second_start_tokenises_nothing(data_dir: str, monkeypatch: pytest.MonkeyPatch) -> None:
    first = load("wmt14", data_dir)
    monkeypatch.setattr(prepared, "_make", None)
    again = load("wmt14", data_dir)
    assert again.train.sources.flat.tolist() == first.train.sources.flat.tolist()
    assert again.val.references == first.val.references


@pytest.mark.parametrize("change", [{"vocabulary_size": 400}, {"max_tokens": 5}, {"two_vocabularies": True}])
def test_other_settings_have_a_cache_of_their_own(change: dict[str, object], data_dir: str) -> None:
    assert load("wmt14", data_dir, **change).artifacts != load("wmt14", data_dir).artifacts


def test_an_interrupted_preparation_is_made_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(prepared, "write", _interrupt)
        load("wmt14", str(tmp_path))
    assert len(load("wmt14", str(tmp_path)).train) == 5_000


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt


def test_the_vocabulary_is_a_file_to_be_copied_with_the_run(data_dir: str) -> None:
    artifacts = load("wmt14", data_dir).artifacts
    assert list(artifacts) == ["tokenizer.json"]
    assert len(json.loads(artifacts["tokenizer.json"].read_text())["model"]["vocab"]) <= 512


def test_each_language_may_have_a_vocabulary(data_dir: str) -> None:
    data = load("wmt14", data_dir, two_vocabularies=True)
    assert sorted(data.artifacts) == ["source_tokenizer.json", "target_tokenizer.json"]
    vocabularies = [json.loads(path.read_text())["model"]["vocab"] for path in data.artifacts.values()]
    assert "Ġhouse" in vocabularies[0] and "Ġhouse" not in vocabularies[1]


def test_the_vocabulary_sees_training_text_only() -> None:
    corpus = corpora.toy_taskmaster(positional=False)
    trained_on = set(corpus.sides[0])
    dialogue_turns = {turn for source, _ in corpus.parts["train"] for turn in [source.split("<enduser>")[0][6:]]}
    assert dialogue_turns <= trained_on
    assert len(trained_on) < 200  # every turn once, not once for each context it stands in


def test_a_joint_vocabulary_counts_the_turns_of_a_dialogue_once_and_both_languages(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[int] = []

    def counting(texts: Iterable[str], *arguments: Any) -> object:
        seen.append(len(read := list(texts)))
        return train_tokenizer(read, *arguments)

    monkeypatch.setattr(prepared, "train_tokenizer", counting)
    for name in ("taskmaster1", "wmt14"):
        load(name, str(tmp_path))
    dialogues, translations = corpora.toy_taskmaster(positional=False), corpora.toy_wmt14()
    assert seen == [len(list(dialogues.sides[0])), sum(len(list(texts)) for texts in translations.sides)]


def test_long_contexts_keep_their_tail_and_long_targets_their_head(data_dir: str) -> None:
    whole, cut = load("taskmaster1", data_dir), load("taskmaster1", data_dir, max_tokens=4)
    assert cut.train.sources.row(2)[1:-1].tolist() == whole.train.sources.row(2)[-5:-1].tolist()
    assert cut.train.targets.row(2)[1:-1].tolist() == whole.train.targets.row(2)[1:5].tolist()


def test_training_batches_come_from_the_training_split_in_the_layout_of_the_settings(data_dir: str) -> None:
    stream = load("wmt14", data_dir, widths=[32]).to("cpu").training_batches(4, seed=0, kind="regularise")
    stream.start_epoch(0)
    batch = stream.at(torch.tensor(0), 0)
    assert batch.input_ids.shape == batch.labels.shape == (4, 32)
    assert stream.steps_per_epoch == 1250


@pytest.mark.parametrize("batch_by", ["sentences", "tokens"])
def test_training_batches_change_with_seed_and_phase(data_dir: str, batch_by: str) -> None:
    data = load("wmt14", data_dir, batch_by=batch_by)

    def epoch(seed: int, kind: str) -> list[list[list[int]]]:
        stream = data.training_batches(500, seed, kind)
        stream.start_epoch(0)
        return [stream.at(torch.tensor(step), step).input_ids.tolist() for step in range(3)]

    assert epoch(0, "regularise") == epoch(0, "regularise")
    assert epoch(0, "regularise") not in (epoch(1, "regularise"), epoch(0, "finetune"))


def test_generated_data_use_the_whole_vocabulary_and_need_no_tokenizer(tmp_path: Path) -> None:
    data = load("wmt14", str(tmp_path), source="generated", vocabulary_size=32_000)
    assert data.train.sources.flat.max() == 31_999
    assert data.train.sources.row(0)[0] == 0 and data.train.sources.row(0)[-1] == 2
    assert data.train.sources.lengths.mean() == pytest.approx(27, abs=1)
    assert data.decode_ids([[0, 17, 4, 2, 1]]) == ["w17 w4"]
    assert data.name == "generated-wmt14" and not data.artifacts and not list(tmp_path.iterdir())


def test_an_unknown_source_is_answered_with_the_known_ones() -> None:
    with pytest.raises(ValueError, match="source is 'reel', but it must be one of real, hub, standin, embedded"):
        load("wmt14", "unused", source="reel")


def test_a_pair_of_the_hub_without_a_text_is_named() -> None:
    rows = [{"translation": {"en": "one"}}, {"translation": {"en": None}}]
    with pytest.raises(DataError, match="Pair 2 of the hub's wmt14 has no text in en: use"):
        list(HubColumn(rows, "en"))


# A mirror with small files under the publishers' names.


def put(folder: Path, name: str, content: str) -> None:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)


@pytest.fixture
def stanford(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    mirror = tmp_path / "mirror"
    monkeypatch.setenv("SPARSITY_DATA_MIRROR", str(mirror))
    for part in ("train", "newstest2012", "newstest2013", "newstest2014"):
        put(mirror, f"wmt14.en-de/{part}.en", f"a rich ##AT##-##AT## {part} .\nyes\n")
        put(mirror, f"wmt14.en-de/{part}.de", f"ein reich ##AT##-##AT## {part} .\nja\n")
    return tmp_path


def test_stanfords_release_is_trained_on_as_released_and_scored_plainly(
    stanford: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(text, "split_sizes", lambda *_, **__: SplitSizes(2, 2, 2))
    data = load("wmt14", str(stanford / "data"), source="real")
    assert data.val.references == ["ein reich-newstest2013.", "ja"]
    assert list(data.extra_tests) == ["newstest2012"]
    assert set(corpora.stanford_wmt14(str(stanford / "data")).sides[0]) == {"a rich ##AT##-##AT## train .", "yes"}


def test_files_that_are_not_wmt14_are_not_called_wmt14(stanford: Path) -> None:
    with pytest.raises(DataError, match=r"wmt14 should hold SplitSizes\(train=4468840.*but SplitSizes\(train=2"):
        load("wmt14", str(stanford / "data"), source="real")


RECORD = "data/wmt14.en-de/recorded_md5.json"


def test_checksums_of_stanfords_files_are_recorded_and_said(
    stanford: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(text, "split_sizes", lambda *_, **__: SplitSizes(2, 2, 2))
    with caplog.at_level(logging.WARNING):
        data = load("wmt14", str(stanford / "data"), source="real")
    assert "Nobody publishes a checksum of" in caplog.text
    assert len(data.checksums) == 8
    assert set(json.loads((stanford / RECORD).read_text()).values()) == set(data.checksums.values())


def test_files_that_are_not_wmt14_are_not_recorded_as_it(stanford: Path) -> None:
    with pytest.raises(DataError, match="wmt14 should hold"):
        load("wmt14", str(stanford / "data"), source="real")
    assert not (stanford / RECORD).exists()


@pytest.mark.parametrize("part", ["train", "newstest2014"])
def test_a_language_that_ends_early_is_found_before_anything_is_tokenised(
    stanford: Path, monkeypatch: pytest.MonkeyPatch, part: str
) -> None:
    put(stanford / "mirror", f"wmt14.en-de/{part}.de", "eins\n")
    monkeypatch.setattr(prepared, "train_tokenizer", lambda *_: pytest.fail("tokenised"))
    with pytest.raises(DataError, match=rf"{part}\.de ends before line 2 of .*{part}\.en"):
        load("wmt14", str(stanford / "data"), source="real")


def test_a_part_without_pairs_is_refused(stanford: Path) -> None:
    for language in ("en", "de"):
        put(stanford / "mirror", f"wmt14.en-de/newstest2013.{language}", "")
    with pytest.raises(DataError, match="wmt14 holds no pair for newstest2013"):
        load("wmt14", str(stanford / "data"), source="real")


def taskmaster(mirror: Path, turns: list[str]) -> None:
    entries = [
        {"conversation_id": f"dlg-{part}", "utterances": [{"speaker": speaker, "text": speaker} for speaker in turns]}
        for part in ("train", "dev", "test")
    ]
    put(mirror, "taskmaster1/self-dialogs.json", json.dumps(entries))
    for part in ("train", "dev", "test"):
        put(mirror, f"taskmaster1/{part}.csv", f"dlg-{part},\n")


def test_taskmasters_pairs_are_counted_for_later_plans(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPARSITY_DATA_MIRROR", str(tmp_path / "mirror"))
    anybodys = {role: replace(file, sha256=None) for role, file in FILES["taskmaster1"].items()}
    monkeypatch.setitem(FILES, "taskmaster1", anybodys)
    taskmaster(tmp_path / "mirror", ["USER", "USER", "ASSISTANT"])
    data_dir = str(tmp_path / "data")
    assert split_sizes("taskmaster1", "real", data_dir=data_dir).train > 60_000
    for by_position, size in ((False, 1), (True, 2)):
        data = load("taskmaster1", data_dir, source="real", speakers_by_position=by_position)
        assert data.name == "taskmaster1"
        sizes = split_sizes("taskmaster1", "real", data_dir=data_dir, speakers_by_position=by_position)
        assert len(data.train) == size == sizes.train


@pytest.mark.parametrize(("lists", "where"), [("train test", "in {0} and in {1}"), ("dev dev", "twice in {0}")])
def test_a_dialogue_in_two_parts_is_refused_before_anything_is_tokenised(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lists: str, where: str
) -> None:
    monkeypatch.setenv("SPARSITY_DATA_MIRROR", str(tmp_path / "mirror"))
    anybodys = {role: replace(file, sha256=None) for role, file in FILES["taskmaster1"].items()}
    monkeypatch.setitem(FILES, "taskmaster1", anybodys)
    taskmaster(tmp_path / "mirror", ["USER", "ASSISTANT"])
    first, second = lists.split()
    put(tmp_path / "mirror", f"taskmaster1/{second}.csv", f"dlg-{second},\ndlg-{first},\n")
    with pytest.raises(DataError) as caught:
        load("taskmaster1", str(tmp_path / "data"), source="real")
    named = where.format(*(tmp_path / "data" / "taskmaster1" / f"{name}.csv" for name in (first, second)))
    assert str(caught.value).startswith(f"The dialogue dlg-{first} is named {named}, but it may belong to one part")


def test_other_dialogues_than_the_published_ones_are_not_taken_for_taskmaster1(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SPARSITY_DATA_MIRROR", str(tmp_path / "mirror"))
    monkeypatch.setattr("urllib.request.urlopen", lambda *_, **__: (_ for _ in ()).throw(OSError("no network")))
    taskmaster(tmp_path / "mirror", ["USER", "ASSISTANT"])
    with pytest.raises(DataError, match=r"self-dialogs\.json \(its sha256 is [0-9a-f]{64}, expected 1e590ed0ccee279e"):
        load("taskmaster1", str(tmp_path / "data"), source="real")


def test_a_stand_in_with_other_contents_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPARSITY_DATA_MIRROR", str(tmp_path))
    (tmp_path / "wmt14-mini").mkdir()
    (tmp_path / "wmt14-mini/train.en.gz").write_bytes(gzip.compress(b"one\n"))
    with pytest.raises(DataError, match=r"wmt14-mini/train\.en\.gz could not be had"):
        corpora.mini_wmt14(str(tmp_path / "data"))


def test_the_hub_that_cannot_be_reached_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"The hub's wmt14 could not be had \(.*\): use dataset.source=real"):
        corpora.hub_wmt14(str(tmp_path))


@pytest.mark.parametrize("cause", [OSError(28, "No space left on device"), TimeoutError()])
def test_what_the_hubs_client_met_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cause: Exception) -> None:
    import datasets

    def meet(*_: object, **__: object) -> None:
        raise datasets.exceptions.DatasetGenerationError("An error occurred") from cause

    monkeypatch.setattr(datasets, "load_dataset", meet)
    said = str(cause) or "TimeoutError"
    with pytest.raises(DataError, match=rf"^The hub's wmt14 could not be had \({re.escape(said)}\): use dataset"):
        corpora.hub_wmt14(str(tmp_path))


def test_the_hubs_pairs_are_read_by_language(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets

    names = ("train", "validation", "test")
    parts = {name: datasets.Dataset.from_list([{"translation": {"en": f" {name} ", "de": "eins"}}]) for name in names}
    asked: dict[str, str] = {}
    monkeypatch.setattr(datasets, "load_dataset", lambda *_, **how: asked.update(how) or parts)
    corpus: Corpus = corpora.hub_wmt14(str(tmp_path))
    assert re.fullmatch("[0-9a-f]{40}", asked["revision"]), "what the hub shows today may be other pairs"
    read = [list(corpus.parts[part]) for part in ("train", corpus.val, corpus.test)]
    assert read == [[(name, "eins")] for name in names]
    assert corpus.name == "wmt14-hub"
