"""Texts by source: pairs by part, the text for the vocabulary, and how a target is written plainly.

A corpus is read anew at every iteration, line by line, so that millions of pairs need no memory.
"""

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

from sparsity.data.published.catalogue import FILES, STAND_INS
from sparsity.data.published.download import DataError, RemoteFile, checksum, fetch_readable
from sparsity.data.texts.dialogues import (
    DIALOGUE_TOKENS,
    Dialogue,
    check_disjoint,
    chosen,
    pairs,
    plain_reply,
    read_dialogues,
)
from sparsity.data.texts.lines import Lines, Pair, Parallel
from sparsity.data.texts.plain_text import detokenised, unchanged
from sparsity.data.texts.toy_language import NUM_DIALOGUES, NUM_SENTENCES, dialogues, sentences

LANGUAGES = ("en", "de")
HUB_REVISION = "b199e406369ec1b7634206d3ded5ba45de2fe696"  # of the hub's wmt/wmt14, whose files are as of April 2024


@dataclass(frozen=True)
class Corpus:
    """Pairs of texts as a source gives them.

    Attributes:
        name: of what is really read: `wmt14`, `wmt14-mini`, `toy-translation`.
        content: digest of all texts; equal digests, equal corpora.
        parts: pairs by part, read anew at every iteration; `train` is one of them.
        val, test: the parts that gate and that are reported; all others but `train` are further test sets.
        sides: training text of the source and of the target side, each text once, for the vocabulary.
        plain: a target as it is scored.
        keep: which end of a source that is too long stays, `head` or `tail`.
        special_tokens: markers that are one token each.
        checksums: md5 (sha256 where that alone is published) by file; empty where nothing was fetched.
    """

    name: str
    content: str
    parts: dict[str, Iterable[Pair]]
    val: str
    test: str
    sides: tuple[Iterable[str], Iterable[str]]
    plain: Callable[[str], str]
    keep: str
    special_tokens: tuple[str, ...] = ()
    checksums: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class HubColumn:
    """One language of a part of the hub's `wmt14`."""

    translations: Iterable[dict[str, dict[str, str | None]]]
    language: str

    def __iter__(self) -> Iterator[str]:
        for number, row in enumerate(self.translations, 1):
            text = row["translation"][self.language]
            if text is None:
                raise DataError(
                    f"Pair {number} of the hub's wmt14 has no text in {self.language}: use dataset.source=real."
                )
            yield text.strip()


@dataclass(frozen=True)
class Replies:
    """All pairs of some dialogues."""

    dialogues: list[Dialogue]
    positional: bool

    def __iter__(self) -> Iterator[Pair]:
        for dialogue in self.dialogues:
            yield from pairs(dialogue, self.positional)


def stanford_wmt14(data_dir: str) -> Corpus:
    """Stanford's release, tokenised by Moses, with `##AT##-##AT##` in compounds."""
    return _parallel_files("wmt14", FILES["wmt14"], data_dir, detokenised)


def mini_wmt14(data_dir: str) -> Corpus:
    """The stand-in `wmt14-mini` from a local mirror: 94,485 untokenised pairs; dev and test are WMT's own, whole."""
    return _parallel_files("wmt14-mini", STAND_INS["wmt14-mini"], data_dir, unchanged)


def hub_wmt14(data_dir: str) -> Corpus:
    """The hub's `wmt14`, de-en, untokenised: 4,508,785 pairs, downloaded and cached by HuggingFace datasets.

    Raises:
        DataError: if the hub cannot be reached.
    """
    import datasets

    try:
        cache = str(Path(data_dir) / "cache" / "hub")
        loaded = datasets.load_dataset("wmt/wmt14", "de-en", revision=HUB_REVISION, cache_dir=cache)
    except Exception as error:  # the hub's client and datasets raise nearly anything
        found = error.__cause__ or error  # such as a full disk
        reason = (str(found) or type(found).__name__).partition("\n")[0]
        raise DataError(f"The hub's wmt14 could not be had ({reason}): use dataset.source=real.") from error
    names = {"train": "train", "newstest2013": "validation", "newstest2014": "test"}
    parts = {
        part: Parallel(*(HubColumn(loaded[split], language) for language in LANGUAGES)) for part, split in names.items()
    }
    content = digest({part: loaded[split]._fingerprint for part, split in names.items()})
    return _translation("wmt14-hub", content, parts, unchanged)


def toy_wmt14() -> Corpus:
    """The embedded toy translation."""
    stream = sentences()
    drawn = {part: list(islice(stream, size)) for part, size in NUM_SENTENCES.items()}
    parts = {part: Parallel(*zip(*both, strict=True)) for part, both in drawn.items()}
    return _translation("toy-translation", digest(drawn), parts, unchanged)


def taskmaster1(data_dir: str, positional: bool) -> Corpus:
    """Taskmaster-1's self-dialogs, split by the official lists."""
    return _dialogue_files("taskmaster1", FILES["taskmaster1"], data_dir, positional)


def mini_taskmaster(data_dir: str, positional: bool) -> Corpus:
    """The stand-in `taskmaster-mini` from a local mirror: 3,710 dialogues of Taskmaster-4 in the same schema."""
    return _dialogue_files("taskmaster-mini", STAND_INS["taskmaster-mini"], data_dir, positional)


def part_of_taskmaster(data_dir: str, positional: bool) -> Corpus:
    """`taskmaster1-part` from a local mirror: 997 of Taskmaster-1's own self-dialogs, of two of its six domains."""
    return _dialogue_files("taskmaster1-part", STAND_INS["taskmaster1-part"], data_dir, positional)


def toy_taskmaster(positional: bool) -> Corpus:
    """The embedded toy dialogues."""
    stream = dialogues()
    drawn = {part: list(islice(stream, size)) for part, size in NUM_DIALOGUES.items()}
    return _conversation("toy-dialogues", drawn, positional, digest(drawn))


def digest(content: object) -> str:
    """The first 16 hexadecimal digits of a JSON value's sha256."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]


def _parallel_files(name: str, files: dict[str, RemoteFile], data_dir: str, plain: Callable[[str], str]) -> Corpus:
    lines = {role: Lines(fetch_readable(file, data_dir)) for role, file in files.items()}
    checksums = {file.path: checksum(file, data_dir) for file in files.values()}
    names = dict.fromkeys(role.partition(".")[0] for role in files)
    parts = {part: Parallel(*(lines[f"{part}.{language}"] for language in LANGUAGES)) for part in names}
    return _translation(name, digest(checksums), parts, plain, checksums)


def _translation(
    name: str,
    content: str,
    parts: dict[str, Parallel],
    plain: Callable[[str], str],
    checksums: dict[str, str] | None = None,
) -> Corpus:
    return Corpus(
        name=name,
        content=content,
        parts=dict(parts),
        val="newstest2013",
        test="newstest2014",
        sides=(parts["train"].source, parts["train"].target),
        plain=plain,
        keep="head",
        checksums=checksums or {},
    )


def _dialogue_files(name: str, files: dict[str, RemoteFile], data_dir: str, positional: bool) -> Corpus:
    paths = {role: fetch_readable(file, data_dir) for role, file in files.items()}
    checksums = {file.path: checksum(file, data_dir) for file in files.values()}
    dialogues = read_dialogues(paths["dialogues"])
    lists = {part: paths[part] for part in ("train", "dev", "test")}
    check_disjoint(lists.values())
    parts = {part: chosen(dialogues, path) for part, path in lists.items()}
    return _conversation(name, parts, positional, digest(checksums), checksums)


def _conversation(
    name: str,
    dialogues: dict[str, list[Dialogue]],
    positional: bool,
    content: str,
    checksums: dict[str, str] | None = None,
) -> Corpus:
    turns = [text for dialogue in dialogues["train"] for _, text in dialogue]
    return Corpus(
        name=name,
        content=digest([content, positional]),
        parts={part: Replies(some, positional) for part, some in dialogues.items()},
        val="dev",
        test="test",
        sides=(turns, turns),
        plain=plain_reply,
        keep="tail",
        special_tokens=DIALOGUE_TOKENS,
        checksums=checksums or {},
    )
