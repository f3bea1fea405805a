"""The same model in Hugging Face's own hands, a step of its Trainer, as a yardstick for ours.

The Trainer wants `accelerate`, which this project does not need. Where that is not there, a loop written by hand takes
its place: the model's own loss, `backward` for each micro-batch, one step of the same optimiser.
"""

import contextlib
import importlib.util
import sys
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from sparsity.hardware import machine
from sparsity.settings import PhaseSettings
from sparsity.training.execution import Execution
from sparsity.training.loop import Batches
from sparsity.training.translation import TextBatch

if TYPE_CHECKING:
    from transformers import BartForConditionalGeneration, Trainer

WHY_BY_HAND = (
    "the Hugging Face Trainer needs the package accelerate, which is not installed: a loop written by hand stands in"
)


class Feed:
    """The micro-batches of each step, those of our own loop in its order.

    Args:
        batches: of the phase, for this feed alone.
        num_parts: micro-batches of a step.
        device: where the batches come.
    """

    def __init__(self, batches: Batches, num_parts: int, device: torch.device) -> None:
        self._batches, self._num_parts = batches, num_parts
        self._steps_per_epoch = batches.steps_per_epoch // num_parts
        self._position = torch.zeros((), dtype=torch.int64, device=device)
        self._epoch: int | None = None

    def step(self, number: int) -> list[TextBatch]:
        """The micro-batches of step `number` of the phase."""
        epoch, place = divmod(number, self._steps_per_epoch)
        if epoch != self._epoch:
            self._batches.start_epoch(epoch)
            self._epoch = epoch
        first = place * self._num_parts
        parts: Any = [self._batches.at(self._position, first + part) for part in range(self._num_parts)]
        return list(parts)


def as_inputs(batch: TextBatch) -> dict[str, torch.Tensor]:
    """The batch under the names that a BART of transformers takes."""
    names = ("input_ids", "attention_mask", "labels", "decoder_input_ids")
    return {name: getattr(batch, name) for name in names}


def has_trainer() -> bool:
    """Whether the Trainer can be used here."""
    return importlib.util.find_spec("accelerate") is not None


def trainer_step(
    model: "BartForConditionalGeneration", feed: Feed, settings: PhaseSettings, execution: Execution, directory: Path
) -> Callable[[], None]:
    """One update as the Trainer makes it: a `training_step` for each micro-batch, then its optimiser's step.

    Its default optimiser, fused AdamW, at our numbers; no clipping, as we do not clip. Its logging, callbacks, data
    loader and scheduler are left out, all in its favour.
    """
    with contextlib.redirect_stdout(sys.stderr):  # where measurements stand, its libraries may say nothing
        trainer = _trainer(model, settings, execution, directory)
        wrapped, optimizer = trainer.accelerator.prepare(model, trainer.create_optimizer())
    trainer.model_wrapped, trainer.optimizer = wrapped, optimizer
    trainer.current_gradient_accumulation_steps = settings.micro_batches
    steps = count()

    def step() -> None:
        with machine.free_kernels():
            for batch in feed.step(next(steps)):
                trainer.training_step(wrapped, as_inputs(batch))
            optimizer.step()
            wrapped.zero_grad()

    return step


def _trainer(
    model: "BartForConditionalGeneration", settings: PhaseSettings, execution: Execution, directory: Path
) -> "Trainer":
    from transformers import Trainer, TrainingArguments

    optimizer = settings.optimizer
    arguments = TrainingArguments(
        output_dir=str(directory / "trainer"),
        learning_rate=optimizer.lr,
        adam_beta1=optimizer.betas[0],
        adam_beta2=optimizer.betas[1],
        adam_epsilon=optimizer.eps,
        weight_decay=optimizer.weight_decay,
        max_grad_norm=0.0,
        bf16=execution.bf16,
        use_cpu=next(model.parameters()).device.type == "cpu",
        gradient_accumulation_steps=settings.micro_batches,
        report_to="none",
    )
    return Trainer(model=model, args=arguments)


def plain_step(
    model: "BartForConditionalGeneration", feed: Feed, settings: PhaseSettings, execution: Execution
) -> Callable[[], None]:
    """The same update in a loop written by hand."""
    numbers = settings.optimizer
    betas = (numbers.betas[0], numbers.betas[1])
    optimizer = torch.optim.AdamW(
        model.parameters(), numbers.lr, betas, numbers.eps, weight_decay=numbers.weight_decay, fused=True
    )
    steps = count()
    model.train()

    def step() -> None:
        with machine.free_kernels():
            for batch in feed.step(next(steps)):
                with execution.precision(model.device):
                    loss = model(**as_inputs(batch)).loss
                (loss / settings.micro_batches).backward()
            optimizer.step()
            optimizer.zero_grad()

    return step
