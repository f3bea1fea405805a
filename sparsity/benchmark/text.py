"""The measurements of an experiment on text: our training step and our beam search in turns with Hugging Face's.

Ours carries the method, the masks and the probe of the experiment; theirs is the dense model, as is our plain one. Same
weights, same micro-batches padded the same, same accumulation, same precision; before anything is timed, both must give
the same loss.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count
from typing import Any

import torch

from sparsity.benchmark.floor import floor, operations_of_a_step
from sparsity.benchmark.huggingface import WHY_BY_HAND, Feed, as_inputs, has_trainer, plain_step, trainer_step
from sparsity.benchmark.losses import loss_measurements
from sparsity.benchmark.measurements import Measurement, environment, our_loop, plain_trainer, ratio, upkeep
from sparsity.benchmark.searching import search_measurements
from sparsity.benchmark.shares import shares
from sparsity.benchmark.timing import Contestant, speedup, spread, time_in_turns
from sparsity.data.text import TextData
from sparsity.hardware import machine
from sparsity.run.phase import Phase
from sparsity.run.workspace import Workspace
from sparsity.special_tokens import IGNORED

LOSS_TOLERANCE = 1e-4  # of the mean loss of a micro-batch in fp32, absolute
NUM_UNTIMED = 1
LEAST_SPEEDUP = 1.5  # on a GPU


def text_measurements(
    work: Workspace, num_rounds: int, num_steps: int, num_sentences: int, num_search_rounds: int, num_lessons: int
) -> Iterator[Measurement]:
    """All measurements of one experiment on text.

    Args:
        work: the experiment.
        num_rounds: of the comparison of steps, at least 2.
        num_steps: of a block in them.
        num_sentences: of the beam search.
        num_search_rounds: of the comparison of searches, at least 2.
        num_lessons: steps in which the network of the search is taught to end its sentences.

    Raises:
        ValueError: if the experiment is not on text, the losses differ or there are too few sentences.
    """
    data = check_is_text(work)
    yield environment(work)
    yield from training_measurements(work, num_rounds, num_steps)
    yield from loss_measurements(work, feed_of(work).step(0)[0], num_rounds)
    yield from search_measurements(work, data, num_sentences, num_search_rounds, num_lessons)


def check_is_text(work: Workspace) -> TextData:
    """The run's data, if they are pairs of texts.

    Raises:
        ValueError: if they are not.
    """
    if not isinstance(work.data, TextData):
        raise ValueError(
            f"{work.data.name} holds no texts: time transformer_wmt14 or transformer_taskmaster1 with `text`, and "
            "this experiment with `step`."
        )
    return work.data


def training_measurements(work: Workspace, num_rounds: int, num_steps: int) -> Iterator[Measurement]:
    """The same loss, then the steps in turns: seconds and tokens/s of each, how they compare, and what else is done.

    Raises:
        ValueError: if the losses of the first micro-batch differ.
    """
    ours, theirs = work.phase("regularise", work.settings.regularise, 0, is_regularised=True), work.new_model()
    yield {"measured": "same loss", "max_abs_difference": check_same_loss(work, ours, theirs), "dtype": "float32"}
    ours.pruner.prune()
    name, step = rival(work, theirs)
    if name == "plain loop":
        yield {"measured": "note", "sentence": f"{WHY_BY_HAND}."}
    num_operations = operations_of_a_step(ours.trainer)
    method = work.settings.pruner.name
    plain = our_loop(plain_trainer(work))
    contestants = {method: our_loop(ours.trainer), "plain": plain, name: Contestant(step, NUM_UNTIMED)}
    seconds = time_in_turns(contestants, num_rounds, num_steps, work.device)
    tokens = tokens_per_step(feed_of(work), num_rounds, num_steps)
    for contestant, values in seconds.items():
        yield {"measured": f"{contestant} step", **spread(values, "seconds"), "rounds": num_rounds}
        rates = [number / value for number, value in zip(tokens, values, strict=True)]
        yield {"measured": f"{contestant} training", **spread(rates, "tokens_per_second")}
    yield speedup(f"{name} / {method}", seconds[name], seconds[method], LEAST_SPEEDUP, work.device)
    yield ratio(method, "plain", seconds)
    yield floor(work, ours.trainer, num_operations)
    yield shares(ours.trainer, num_steps)
    yield from upkeep(work, ours)


def check_same_loss(work: Workspace, ours: Phase, theirs: Any) -> float:
    """How far the loss of our task and that of Hugging Face's model are apart on the first micro-batch, in fp32.

    Raises:
        ValueError: if that is more than the tolerance.
    """
    batch: Any = feed_of(work).step(0)[0]
    with full_precision(work), torch.no_grad():
        loss = work.experiment.task.forward(ours.model.eval(), batch)[0]
        difference = abs(float(loss - theirs.eval()(**as_inputs(batch)).loss))
    ours.model.train()
    if not difference <= LOSS_TOLERANCE:  # NaN is no agreement either
        raise ValueError(
            f"Our loss and that of Hugging Face's model differ by {difference:.1e}, and {LOSS_TOLERANCE:.0e} is "
            "allowed: their times cannot be compared until they compute the same."
        )
    return difference


@contextmanager
def full_precision(work: Workspace) -> Iterator[None]:
    """Products in fp32, whatever the experiment's precision."""
    machine.round_products("fp32")
    try:
        yield
    finally:
        machine.round_products(work.settings.machine.precision)


def rival(work: Workspace, model: Any) -> tuple[str, Callable[[], None]]:
    """The Trainer's step, or that of a plain loop where there is no Trainer, with its name."""
    settings, execution = work.settings.regularise, work.execution
    if has_trainer():
        return "trainer", trainer_step(model, feed_of(work), settings, execution, work.directory)
    return "plain loop", plain_step(model, feed_of(work), settings, execution)


def feed_of(work: Workspace) -> Feed:
    """The steps that our regularised phase makes, from its first on."""
    settings = work.settings.regularise
    batch_size = settings.batch_size // settings.micro_batches
    batches = work.data.training_batches(batch_size, work.settings.seed, "regularise")
    return Feed(batches, settings.micro_batches, work.device)


def tokens_per_step(feed: Feed, num_rounds: int, num_steps: int) -> list[float]:
    """Tokens of a step, source and counted target without padding, in the mean of the timed steps of each round."""
    numbers = count()
    means = []
    for _ in range(num_rounds):
        steps = [num_tokens(feed, next(numbers)) for _ in range(NUM_UNTIMED + num_steps)]
        means.append(sum(steps[NUM_UNTIMED:]) / num_steps)
    return means


def num_tokens(feed: Feed, number: int) -> int:
    """Tokens of one step, padding left out."""
    parts = feed.step(number)
    return sum(int(part.attention_mask.sum() + (part.labels != IGNORED).sum()) for part in parts)
