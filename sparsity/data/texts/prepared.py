"""A corpus as token arrays, made once: vocabulary, tokenisation, references; later starts only map files.

HuggingFace datasets holds the texts in Arrow files and tokenises them by several processes in bounded memory; the ids
then go into flat arrays (`token_arrays`), which training reads. A folder of the cache is named after the content of
the corpus and everything that the arrays depend on, so that it is never stale; its files are held to the digests of
when they were written before they are used.
"""

import json
import logging
import os
import shutil
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from itertools import chain
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from sparsity.data.published.download import DataError
from sparsity.data.texts.corpora import Corpus, digest
from sparsity.data.texts.lines import Pair
from sparsity.data.texts.seq2seq import TextSplit
from sparsity.data.texts.token_arrays import TokenArrays, write
from sparsity.data.texts.tokenizer import decoder, encode, train_tokenizer
from sparsity.files import locked, put_in_place, sha256, write_json
from sparsity.hardware import cpu

if TYPE_CHECKING:
    from datasets import Dataset
    from tokenizers import Tokenizer

FORMAT = 2  # of the folder; a change of what is written below takes the next number
PAIRS_PER_PROCESS = 50_000  # a process takes about a second to start
SIDES = ("source", "target")
DONE = "done.json"  # written last, with the digest of each file
SCRATCH = "scratch-"
logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Vocabulary:
    """What a vocabulary and its use depend on beside the text.

    Attributes:
        size: tokens, special ones included.
        joint: one vocabulary for source and target, or one for each over the same ids.
        max_tokens: a longer source or target is cut.
    """

    size: int
    joint: bool
    max_tokens: int


@dataclass(frozen=True)
class Prepared:
    """A corpus as token arrays.

    Attributes:
        splits: by part of the corpus.
        tokenizers: the files of the vocabularies, by the name that a copy should have.
        decode: lists of target ids to plain texts.
    """

    splits: dict[str, TextSplit]
    tokenizers: dict[str, Path]
    decode: Callable[[list[list[int]]], list[str]]


def prepare(corpus: Corpus, vocabulary: Vocabulary, data_dir: str) -> Prepared:
    """The token arrays of `corpus`, made at the first call, verified and mapped at all later ones."""
    from tokenizers import Tokenizer

    settings = [FORMAT, corpus.content, corpus.special_tokens, corpus.keep, *vars(vocabulary).values()]
    folder = Path(data_dir) / "cache" / f"{corpus.name}-{digest(settings)}"
    if _changed(folder):
        with locked(folder, wait=True):
            if changed := _changed(folder):
                if (folder / DONE).exists():
                    logger.warning("warning: %s in %s: not as once written, made anew.", ", ".join(changed), folder)
                _make(corpus, vocabulary, folder)
    names = _tokenizer_names(vocabulary)
    target_tokenizer = Tokenizer.from_file(str(folder / names["target"]))
    return Prepared(
        splits={part: _split(corpus, part, folder) for part in corpus.parts},
        tokenizers={name: folder / name for name in names.values()},
        decode=decoder(target_tokenizer, corpus.plain),
    )


def _changed(folder: Path) -> list[str]:
    """Files of a folder that are not as they were written; done.json is one of them if it does not tell."""
    try:
        digests = dict(json.loads((folder / DONE).read_text())["sha256"])
    except (OSError, ValueError, TypeError, KeyError):
        return [DONE]
    return [name for name, known in digests.items() if not (folder / name).is_file() or sha256(folder / name) != known]


def _split(corpus: Corpus, part: str, folder: Path) -> TextSplit:
    references = [] if part == "train" else json.loads((folder / f"{part}.references.json").read_text())
    sources, targets = (TokenArrays.load(folder / f"{part}.{side}") for side in SIDES)
    return TextSplit(f"{corpus.name}/{part}", sources, targets, references)


def _make(corpus: Corpus, vocabulary: Vocabulary, folder: Path) -> None:
    """Write all files in a folder aside and give them their places at the end: others may have old ones mapped."""
    (folder / DONE).unlink(missing_ok=True)
    for left in folder.glob(f"{SCRATCH}*"):  # by a process that was killed
        shutil.rmtree(left)
    _read_through(corpus)
    logger.info("%s is tokenised once into %s.", corpus.name, folder)
    tokenizers = _vocabularies(corpus, vocabulary)
    with TemporaryDirectory(dir=folder, prefix=SCRATCH) as scratch:
        made = Path(scratch)
        for side, name in _tokenizer_names(vocabulary).items():
            tokenizers[side].save(str(made / name))
        sizes = {part: _make_part(corpus, part, tokenizers, vocabulary.max_tokens, made) for part in corpus.parts}
        digests = {path.name: _placed(path, folder) for path in sorted(made.iterdir())}
    done = {"corpus": corpus.name, "pairs": sizes, "checksums": corpus.checksums, "sha256": digests}
    write_json(folder / DONE, done)


def _placed(written: Path, folder: Path) -> str:
    """The digest of a file, which is on the disk before it has its place in `folder`."""
    digest = sha256(written)
    with written.open("rb") as file:
        os.fsync(file.fileno())
    put_in_place(written, folder / written.name)
    return digest


def _read_through(corpus: Corpus) -> None:
    """Meet every fault of the texts now, which takes seconds, and not when minutes of tokenising are lost to it.

    Raises:
        DataError: a text cannot be read, or a part holds none.
    """
    for part, pairs in corpus.parts.items():
        if not sum(1 for _ in pairs):
            raise DataError(f"{corpus.name} holds no pair for {part}: remove its files and run again.")


def _tokenizer_names(vocabulary: Vocabulary) -> dict[str, str]:
    return {side: "tokenizer.json" if vocabulary.joint else f"{side}_tokenizer.json" for side in SIDES}


def _vocabularies(corpus: Corpus, vocabulary: Vocabulary) -> dict[str, "Tokenizer"]:
    if vocabulary.joint:
        source, target = corpus.sides
        texts = source if source is target else chain(source, target)  # the speakers of a dialogue share its turns
        joint = train_tokenizer(texts, vocabulary.size, corpus.special_tokens)
        return dict.fromkeys(SIDES, joint)
    both = zip(SIDES, corpus.sides, strict=True)
    return {side: train_tokenizer(texts, vocabulary.size, corpus.special_tokens) for side, texts in both}


def _make_part(corpus: Corpus, part: str, tokenizers: dict[str, "Tokenizer"], max_tokens: int, folder: Path) -> int:
    """Write the arrays, and the references unless it is for training; the number of pairs."""
    if part != "train":
        references = [corpus.plain(target) for _, target in corpus.parts[part]]
        write_json(folder / f"{part}.references.json", references)
    with TemporaryDirectory(dir=folder) as scratch:
        tokens = _tokenised(corpus, part, tokenizers, max_tokens, Path(scratch))
        for side in SIDES:
            column = tokens.data.column(side)
            num_tokens = sum(len(chunk.flatten()) for chunk in column.chunks)
            write(folder / f"{part}.{side}", map(_piece, column.chunks), num_tokens)
        return len(tokens)


def _tokenised(
    corpus: Corpus, part: str, tokenizers: dict[str, "Tokenizer"], max_tokens: int, scratch: Path
) -> "Dataset":
    import datasets

    _let_children_end()
    datasets.disable_progress_bars()
    texts = datasets.Dataset.from_generator(
        _rows,
        features=datasets.Features({side: datasets.Value("string") for side in SIDES}),
        gen_kwargs={"pairs": corpus.parts[part]},
        cache_dir=str(scratch),
        fingerprint=f"{corpus.content}-{part}",
    )
    num_processes = min(cpu.num_cores(), len(texts) // PAIRS_PER_PROCESS)
    return texts.map(
        _encoded,
        batched=True,
        num_proc=num_processes if num_processes > 1 else None,
        features=datasets.Features({side: datasets.Sequence(datasets.Value("uint16")) for side in SIDES}),
        fn_kwargs={"tokenizers": tokenizers, "max_tokens": max_tokens, "keep": corpus.keep},
        cache_file_name=str(scratch / "tokens.arrow"),
        new_fingerprint=f"{corpus.content}-{part}-tokens",
    )


@cache
def _let_children_end() -> None:
    """From now on a process that this one forks ends with it: those of `datasets` would wait for its work for ever."""
    os.register_at_fork(after_in_child=lambda: threading.Thread(target=_end_with_parent, daemon=True).start())


def _end_with_parent() -> None:
    parent = os.getppid()
    while os.getppid() == parent:
        time.sleep(0.5)
    os._exit(1)


def _rows(pairs: Iterable[Pair]) -> Iterator[dict[str, str]]:
    for source, target in pairs:
        yield {"source": source, "target": target}


def _encoded(
    batch: dict[str, list[str]], tokenizers: dict[str, "Tokenizer"], max_tokens: int, keep: str
) -> dict[str, list[NDArray[np.uint16]]]:
    # only the source is a context whose end matters most; a target is always read from its head
    keeps = {"source": keep, "target": "head"}
    return {side: encode(tokenizers[side], batch[side], max_tokens, keeps[side]) for side in SIDES}


def _piece(chunk: Any) -> tuple[NDArray[np.uint16], NDArray[np.int64]]:
    """Tokens and lengths of an Arrow chunk of lists, without a copy of the tokens."""
    return chunk.flatten().to_numpy(), np.asarray(chunk.value_lengths(), dtype=np.int64)
