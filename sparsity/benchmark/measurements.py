"""The measurements of an experiment on images: three kinds of step, their ratios and floor, and what is not a step."""

import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import chain, repeat
from typing import Any

import torch

from sparsity.benchmark.equality import (
    check_same_inputs,
    check_same_update,
    image_data,
    pruned_pair,
    regularised,
    shuffled,
)
from sparsity.benchmark.floor import floor, operations_of_a_step
from sparsity.benchmark.shares import shares
from sparsity.benchmark.straightforward import PREFETCH_FACTOR, StraightforwardRecipe, pil_batches
from sparsity.benchmark.timing import Contestant, spread, time_block, time_in_turns
from sparsity.data.images.noise import NoiseData
from sparsity.hardware import cpu, machine
from sparsity.run.phase import Phase
from sparsity.run.workspace import Workspace
from sparsity.training.loop import Trainer
from sparsity.weights.checkpoints import save_checkpoint

Measurement = dict[str, Any]

METHOD = "relevance"  # the paper's

NUM_REPEATS = 5  # of what is not a step
NUM_WORKERS = (0, 2)  # of the recipe's DataLoader; the faster one runs
NUM_CALIBRATION_STEPS = 10
NUM_STREAMED = {"cpu": 100, "cuda": 5000}  # images of an evaluation where a run streams them
REST_SECONDS = 0.2  # the workers fill their queue in it, instead of during the next block
TARGETS = {"plain": 1.03, "straightforward": 0.35}  # of our step with relevance and mask, over theirs
OTHER_METHODS = {"plain": 1.3}  # unless their rule asks for more passes
WHY_NO_RECIPE = "the straightforward recipe loads images from memory, and these stand for streamed ones: it is left out"
RELEVANCE_ONLY = "the straightforward recipe is one of the relevance penalty: it is left out"


def step_measurements(work: Workspace, num_rounds: int, num_steps: int) -> Iterator[Measurement]:
    """All measurements of one experiment on images, `num_steps` a block, the equality of the two recipes first.

    Data that are streamed in a run, and other methods than relevance, have no straightforward recipe here; then ours
    and plain training alone are timed.

    Raises:
        ValueError: if our step and the straightforward recipe's do not compute the same update, or have no twin.
    """
    yield environment(work)
    is_relevance = work.settings.pruner.name == METHOD
    if isinstance(work.data, NoiseData) or not is_relevance:
        yield {"measured": "note", "sentence": WHY_NO_RECIPE if is_relevance else RELEVANCE_ONLY}
        yield from timed(work, regularised(work), {}, num_rounds, num_steps)
        return
    yield {"measured": "same inputs", "max_abs_difference": check_same_inputs(work)}
    yield {"measured": "same update", "max_abs_difference": check_same_update(work), "dtype": "float64"}
    ours, recipe = pruned_pair(work)
    num_workers = faster_num_workers(work, recipe)
    yield {"measured": "straightforward workers", "num_workers": num_workers}
    others = {"straightforward": research_loop(work, recipe, num_workers)}
    yield from timed(work, ours, others, num_rounds, num_steps)


def timed(
    work: Workspace, ours: Phase, others: dict[str, Contestant], num_rounds: int, num_steps: int
) -> Iterator[Measurement]:
    """Our step with the method in turns with the plain one, then with each of `others`; then what is not a step.

    One opponent at a time: the workers of a data loader, or the cache that another leaves, would weigh on one of three.
    """
    method, batch_size = work.settings.pruner.name, work.settings.regularise.batch_size
    num_operations = operations_of_a_step(ours.trainer)
    for name, other in {"plain": our_loop(plain_trainer(work)), **others}.items():
        contestants = {method: our_loop(ours.trainer), name: other}
        seconds = time_in_turns(contestants, num_rounds, num_steps, work.device)
        if name == "plain":
            yield {"measured": f"{method} step", **spread(seconds[method], "seconds"), "rounds": num_rounds}
            rates = [batch_size / value for value in seconds[method]]
            yield {"measured": "training", **spread(rates, "images_per_second")}
        yield {"measured": f"{name} step", **spread(seconds[name], "seconds"), "rounds": num_rounds}
        yield ratio(method, name, seconds)
    yield floor(work, ours.trainer, num_operations)
    yield shares(ours.trainer, num_steps)
    yield evaluation(work, ours)
    yield from upkeep(work, ours)


def environment(work: Workspace) -> Measurement:
    """Where and on what the measurements are made."""
    return {
        "measured": "environment",
        "experiment": work.settings.experiment,
        "scale": work.settings.scale,
        "pruner": work.settings.pruner.name,
        "data": work.data.name,
        "device": machine.describe(work.device),
        "precision": work.settings.machine.precision,
        "bf16_units": work.device.type == "cuda" or cpu.has_bf16_units(),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
    }


def plain_trainer(work: Workspace) -> Trainer:
    """Our loop without any extension."""
    settings, model = work.settings.regularise, work.new_model()
    batch_size = settings.batch_size // settings.micro_batches
    batches = work.data.training_batches(batch_size, work.settings.seed, "regularise")
    return Trainer(model, work.experiment.task, batches, dict, settings, execution=work.execution)


def our_loop(trainer: Trainer) -> Contestant:
    """Gather a batch on the device and make one step, as `Trainer.run` does."""
    return Contestant(trainer.train_step, after=trainer.drain)


def research_loop(work: Workspace, recipe: StraightforwardRecipe, num_workers: int) -> Contestant:
    """Take a batch from a DataLoader, move it to the device and make one step of the recipe.

    With workers as many untimed steps go before a block as they had time to prepare batches for.
    """
    batch_size = work.settings.regularise.batch_size
    loader = pil_batches(image_data(work), shuffled(work).indices(0), batch_size, num_workers)
    batches = chain.from_iterable(repeat(loader))

    def step() -> None:
        images, labels = next(batches)
        with work.execution.precision(work.device):
            recipe.step(images.to(work.device), labels.to(work.device), work.settings.pruner.penalty.strength)

    num_ahead = num_workers * PREFETCH_FACTOR
    return Contestant(step, 1 + num_ahead, lambda: time.sleep(REST_SECONDS if num_workers else 0))


def faster_num_workers(work: Workspace, recipe: StraightforwardRecipe) -> int:
    """With how many workers the recipe is faster here."""
    seconds = {n: time_block(research_loop(work, recipe, n), NUM_CALIBRATION_STEPS, work.device) for n in NUM_WORKERS}
    return min(seconds, key=lambda num_workers: seconds[num_workers])


def ratio(method: str, name: str, seconds: dict[str, list[float]]) -> Measurement:
    """A method over an opponent: median and quartiles within each round, and what the median should be at most."""
    measured = spread([a / b for a, b in zip(seconds[method], seconds[name], strict=True)], "ratio")
    at_most = (TARGETS if method == METHOD else OTHER_METHODS)[name]
    return {"measured": f"{method} / {name}", **measured, "at_most": at_most, "met": measured["ratio"] <= at_most}


def upkeep(work: Workspace, ours: Phase) -> Iterator[Measurement]:
    """A prune of the whole network, a checkpoint on the disk of temporary files."""
    path = work.directory / "last.pt"
    yield {"measured": "prune", **spread(repeated(work, ours.pruner.prune), "seconds")}
    seconds = repeated(work, lambda: save_checkpoint(path, checkpoint(ours), keep_previous=True))
    yield {"measured": "checkpoint", **spread(seconds, "seconds"), "size_bytes": path.stat().st_size}


def evaluation(work: Workspace, ours: Phase) -> Measurement:
    """One pass over the images, evaluated as a run does it: captured, where the data lie on a GPU.

    Over the test images (10,000), or, where data are streamed and the test takes long, some of those that gate.
    """
    is_resident = ours.trainer.batches.is_resident
    split: Any = work.data.test if is_resident else work.data.val
    if isinstance(work.data, NoiseData):
        split = replace(split, num_images=min(len(split), NUM_STREAMED[work.device.type]))
    evaluate = work.evaluator(ours.model, split, is_resident)
    evaluate()  # eagerly; the first call of `repeated`, which does not count, captures
    seconds = repeated(work, evaluate)
    rate = spread([len(split) / value for value in seconds], "images_per_second")["images_per_second"]
    milliseconds = spread([1000 * value for value in seconds], "milliseconds")
    return {"measured": "evaluation", **milliseconds, "images": len(split), "images_per_second": rate}


def checkpoint(phase: Phase) -> dict[str, Any]:
    """The tensors that a resumed phase needs."""
    trainer, masks = phase.trainer.state_dict(), phase.pruner.masks.state_dict()
    return {"weights": phase.model.state_dict(), "masks": masks, "trainer": trainer}


def repeated(work: Workspace, act: Callable[[], object]) -> list[float]:
    """Seconds of `act`, several times, after one that does not count."""
    contestant = Contestant(act, num_untimed=0)
    return [time_block(contestant, 1, work.device) for _ in range(1 + NUM_REPEATS)][1:]
