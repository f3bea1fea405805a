"""Holds a network and a data set to fit each other: two images go through it before anything is trained.

And is there anything to train, to gate and to test on?
"""

from collections.abc import Callable
from contextlib import suppress
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from sparsity.training.tasks import AnyTask

MOST_WEIGHTS = 1 << 31  # the paper's largest network has a fifteenth of it


@runtime_checkable
class Images(Protocol):
    """Data whose inputs are images, each of one of `num_classes`; of other data nothing is known here."""

    name: str
    num_classes: int

    @property
    def image_shape(self) -> tuple[int, ...]:
        """Channels, height and width of an input."""
        ...


def check_fit(build_model: Callable[[], nn.Module], task: AnyTask, data: Any, model_name: str) -> None:
    """Refuse a network that cannot take the images of `data`, has too few outputs for their classes or no end.

    Raises:
        ValueError: saying which of them it is.
    """
    num_weights = _num_weights(build_model)
    if num_weights > MOST_WEIGHTS:
        raise ValueError(
            f"{model_name} would have {num_weights:,} weights, and more than {MOST_WEIGHTS:,} are not taken for meant: "
            "choose smaller widths."
        )
    if not isinstance(data, Images):
        return
    try:
        scores = _scores(build_model, task, data.image_shape)
    except (RuntimeError, ValueError, TypeError, AttributeError, IndexError) as error:
        shape, reason = " x ".join(map(str, data.image_shape)), str(error).partition("\n")[0]
        raise ValueError(
            f"{model_name} cannot be trained on {data.name}, images of {shape} ({reason}): choose a model, a dataset "
            "and a task that fit each other, as each of conf/experiment does."
        ) from error
    if scores.shape[1] < data.num_classes:
        raise ValueError(
            f"{model_name} tells {scores.shape[1]} classes apart, but {data.name} has {data.num_classes}: "
            f"set model.num_classes={data.num_classes}, or choose another dataset."
        )


def check_splits(data: Any) -> None:
    """Refuse data of which a split is empty.

    Raises:
        ValueError: naming the first that is.
    """
    uses = {"train": "train on", "val": "gate on", "test": "test on"}
    for part, use in uses.items():
        if not len(getattr(data, part)):
            raise ValueError(f"{data.name} holds nothing to {use}: its split {part} is empty; add examples.")


def _num_weights(build_model: Callable[[], nn.Module]) -> int:
    """Weights of the network, counted without making one; 0 where it cannot be made so."""
    with suppress(Exception), torch.random.fork_rng(devices=()), torch.device("meta"):
        return sum(weight.numel() for weight in build_model().parameters())
    return 0


def _scores(build_model: Callable[[], nn.Module], task: AnyTask, shape: tuple[int, ...]) -> Tensor:
    """What the network says to two images: without values, which costs nothing, or where it asks for them, black."""
    try:
        return _scores_on("meta", build_model, task, shape)
    except Exception:
        return _scores_on("cpu", build_model, task, shape)


@torch.no_grad()
def _scores_on(device: str, build_model: Callable[[], nn.Module], task: AnyTask, shape: tuple[int, ...]) -> Tensor:
    with torch.random.fork_rng(devices=()), torch.device(device):
        batch = torch.zeros(2, *shape), torch.zeros(2, dtype=torch.int64)
        return task.forward(build_model(), batch)[1]
