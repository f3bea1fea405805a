"""Our beam search against `generate` and CTranslate2: the same network, sentences and batches, by turns.

Times mean something only for a network whose sentences end. This one is taught for a moment to count: the source says
how far by one token repeated, the target is the numbers up to there, as many as a real target has tokens.
"""

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from statistics import fmean
from typing import Any

import torch

from sparsity.benchmark.ctranslate import WHY_LEFT_OUT, can_search, engine_search
from sparsity.benchmark.huggingface import Feed
from sparsity.benchmark.timing import Contestant, speedup, spread, time_in_turns
from sparsity.data.text import TextData
from sparsity.data.texts.generated_ids import numbered_words
from sparsity.data.texts.seq2seq import EvaluationText, TextSplit
from sparsity.data.texts.token_arrays import from_rows
from sparsity.hardware import machine
from sparsity.run.workspace import Workspace
from sparsity.special_tokens import BASE_TOKENS, BOS_ID, EOS_ID

LEAST_SPEEDUP = 4.0  # on a GPU
ENGINE = "ctranslate2"
LESSON_BATCH_SIZE = 64
LESSON_RATE = 0.25  # divided by the width: 5e-4 for WMT14's network
LESSON_WARM_UP = 0.25  # of its steps: without it a deep network learns nothing in so short a time
FIRST_NUMBER = len(BASE_TOKENS)


def search_measurements(
    work: Workspace, data: TextData, num_sentences: int, num_rounds: int, num_lessons: int
) -> Iterator[dict[str, Any]]:
    """What was taught, then all searches in turns: seconds and sentences/s of each, ratios, and how many texts agree.

    Args:
        work: the experiment, whose beams are searched.
        data: its texts, whose lengths are taken.
        num_sentences: of the validation split's lengths.
        num_rounds: of the comparison, at least 2.
        num_lessons: steps of teaching.

    Raises:
        ValueError: if the validation split has fewer sentences.
    """
    data = replace(data, decode_ids=numbered_words)  # one word a token, whatever the vocabulary
    split = counting(data.val, num_sentences, int(work.settings.model["vocabulary_size"]))
    model: Any = work.new_model()
    teach(work, model, replace(data, train=split), num_lessons)
    text = data.evaluation_batches(split)
    texts: dict[str, list[str]] = {}
    searches: dict[str, Callable[[], list[str]]] = {}
    for name, search in SEARCHES.items():
        searches[name] = partial(search, work, model, text)
    if can_search(work):
        searches[ENGINE] = engine_search(work, model, text)
    else:
        yield {"measured": "note", "sentence": f"{WHY_LEFT_OUT}."}
    contestants = {name: _contestant(name, search, texts) for name, search in searches.items()}
    seconds = time_in_turns(contestants, num_rounds, 1, work.device)
    yield taught(split, texts["our search"], num_lessons)
    for name, values in seconds.items():
        rate = spread([num_sentences / value for value in values], "sentences_per_second")["sentences_per_second"]
        yield {"measured": name, **spread(values, "seconds"), "sentences": num_sentences, "sentences_per_second": rate}
    yield speedup("generate / our search", seconds["generate"], seconds["our search"], LEAST_SPEEDUP, work.device)
    yield agreement(texts["our search"], texts["generate"], work.settings.machine.precision)
    if ENGINE in seconds:
        ratios = [a / b for a, b in zip(seconds[ENGINE], seconds["our search"], strict=True)]
        num_identical = sum(a == b for a, b in zip(texts["our search"], texts[ENGINE], strict=True))
        yield {"measured": f"{ENGINE} / our search", **spread(ratios, "ratio"), "identical_texts": num_identical}


def counting(split: TextSplit, num_sentences: int, vocabulary_size: int) -> TextSplit:
    """The task of counting, in the lengths of the first sentences of `split`.

    Raises:
        ValueError: if `split` has fewer.
    """
    if not 1 <= num_sentences <= len(split):
        raise ValueError(f"--sentences is {num_sentences}, but {split.identity} allows 1 to {len(split)}: change it.")
    last = vocabulary_size - 1
    sources, targets = [], []
    for place in range(num_sentences):
        length, goal = (len(part.row(place)) - 2 for part in (split.sources, split.targets))
        goal = min(goal, (last - FIRST_NUMBER) // 2)  # so that no number is the name of a goal
        sources.append([BOS_ID, *[last - goal] * length, EOS_ID])
        targets.append([BOS_ID, *range(FIRST_NUMBER, FIRST_NUMBER + goal), EOS_ID])
    return TextSplit("counting", from_rows(sources), from_rows(targets), [""] * num_sentences)


def teach(work: Workspace, model: Any, data: TextData, num_steps: int) -> None:
    """Train on the training split of `data` for a moment; the model is in evaluation mode afterwards."""
    batch_size = min(LESSON_BATCH_SIZE, len(data.train))
    feed = Feed(data.training_batches(batch_size, work.settings.seed, "lesson"), 1, work.device)
    rate = LESSON_RATE / model.config.d_model
    optimizer = torch.optim.Adam(model.parameters(), rate, fused=True)
    model.train()
    for number in range(num_steps):
        optimizer.param_groups[0]["lr"] = rate * min(1.0, (number + 1) / (LESSON_WARM_UP * num_steps))
        with work.execution.precision(work.device):
            batch: Any = feed.step(number)[0]
            loss, _ = work.experiment.task.forward(model, batch)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    model.eval()


def taught(split: TextSplit, written: list[str], num_steps: int) -> dict[str, Any]:
    """How long the texts are that the network writes, and how long they should be, in words."""
    lengths = sorted(len(line.split()) for line in written)
    return {
        "measured": "lengths",
        "model": f"taught to count for {num_steps} steps",
        "mean_words": round(fmean(lengths), 1),
        "shortest": lengths[0],
        "longest": lengths[-1],
        "wanted_mean_words": round(fmean(split.targets.lengths) - 2, 1),
    }


def our_texts(work: Workspace, model: Any, text: EvaluationText) -> list[str]:
    """The texts as an evaluation of a run writes them, in the order of the split."""
    num_sentences = len(text.references)
    task: Any = work.experiment.task
    with work.execution.precision(work.device):
        lines = task.generate(model, text, list(range(num_sentences)))
    return [lines[place] for place in range(num_sentences)]


@torch.no_grad()
def their_texts(work: Workspace, model: Any, text: EvaluationText) -> list[str]:
    """The texts that `generate` writes for the same batches, free to choose its kernels."""
    names = ("num_beams", "length_penalty", "max_length")
    search = {name: work.settings.task[name] for name in names} | {"early_stopping": False, "do_sample": False}
    lines: dict[int, str] = {}
    with machine.free_kernels(), work.execution.precision(work.device):
        for places, input_ids, attention_mask in text:
            ids = model.generate(input_ids=input_ids, attention_mask=attention_mask, **search)
            lines |= zip(places.tolist(), (" ".join(line.split()) for line in text.decode(ids)), strict=True)
    return [lines[place] for place in range(len(text.references))]


SEARCHES = {"our search": our_texts, "generate": their_texts}


def _contestant(name: str, search: Callable[[], list[str]], texts: dict[str, list[str]]) -> Contestant:
    """A whole search as one step, which leaves its texts under its name."""

    def step() -> None:
        texts[name] = search()

    return Contestant(step, num_untimed=0)


def agreement(ours: list[str], theirs: list[str], precision: str) -> dict[str, Any]:
    """How many texts are the same: all have to be in fp32, where rounding decides nothing."""
    num_identical = sum(a == b for a, b in zip(ours, theirs, strict=True))
    target = {"at_least": len(ours), "met": num_identical == len(ours)} if precision == "fp32" else {}
    return {"measured": "identical texts", "identical": num_identical, "sentences": len(ours), **target}
