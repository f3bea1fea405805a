"""The training loop, one for every phase: it steps, and yields at each evaluation.

The caller decides at the yield what to do with the weights (prune them, save them) and goes on; the loop has never
heard of pruning. Between two yields the host asks the device for nothing but one copy of the recorded rows.
"""

import math
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from sparsity.hardware import machine, ranks
from sparsity.hardware.ranks import Part
from sparsity.settings import PhaseSettings
from sparsity.training.execution import Execution, Replay
from sparsity.training.extensions import Extensions, Recorded, Stateful
from sparsity.training.lr_schedules import RateOnPlateau, lr_factor
from sparsity.training.optimizers import build_optimizer
from sparsity.training.recorder import StepRecorder
from sparsity.training.tasks import AnyTask, Batch
from sparsity.training.weight_view import Parts, WeightView, replace_forwards

RECORDER_CAPACITY = 1000
MOST_NAMED = 3  # parameters in a sentence


class Batches(Protocol):
    """Training batches, a pure function of (epoch, place in the epoch).

    is_resident: whether `at` depends on the device's `position` alone, so that a step may be captured as a CUDA graph.
    """

    is_resident: bool

    @property
    def steps_per_epoch(self) -> int:
        """Batches in one epoch (micro-batches, where a phase accumulates)."""
        ...

    def start_epoch(self, epoch: int) -> None:
        """Load the order of `epoch` into place; called before its first batch and after a resume within it."""
        ...

    def at(self, position: Tensor, step: int) -> Batch:
        """The batch at a place in [0, steps_per_epoch) of the epoch, on the device.

        Args:
            position: the place as int64, 0-dim, on the device: what a batch is to be gathered by that lies there.
            step: the same number, for a source that streams.
        """
        ...


@runtime_checkable
class Divided(Protocol):
    """Batches of which each rank computes its part; of others every rank computes all, which is right but no faster.

    weight: of the loss of the part that was given last: the mean over the ranks of weight times loss is the batch's.
    """

    weight: float

    def take(self, part: Part) -> None:
        """Give this part from now on.

        Raises:
            ValueError: if a batch has fewer examples than there are parts.
        """
        ...


class NonFiniteLossError(ValueError):
    """The loss became infinite or NaN; no update has been made from that step on."""


@dataclass(frozen=True)
class Evaluation:
    """What the loop yields: where it stands, the metrics and the seconds they took, the rows since the last yield.

    `is_scheduled` is False for the one evaluation that closes a phase between two scheduled ones: it is on the record,
    but it is no occasion to prune.
    """

    step: int
    epoch: int
    is_scheduled: bool
    metrics: dict[str, float]
    seconds: float
    rows: list[dict[str, float]]


class Trainer:
    """One phase of training: the network, its optimiser, its place in the data, all of it resumable bit for bit.

    Several ranks train as one process would on the same batches. Dropout's noise is then that of (phase, step, rank),
    and what is drawn outside of forward and backward is the same on all ranks.

    Args:
        model: trained in place; all parameters that require a gradient take part.
        task: loss and metrics.
        batches: the training data.
        evaluate: gives the metrics of the network as its plain weights stand, as 0-dim tensors.
        settings: lengths, optimiser and learning rate of this phase.
        extensions: what a method adds.
        execution: precision, fusion and CUDA graphs.
        rate_per_micro_batch: the schedule of the rate moves with each micro-batch, and the last one's is taken.
        parts: of the weights, with which the network computes the same.
    """

    def __init__(
        self,
        model: nn.Module,
        task: AnyTask,
        batches: Batches,
        evaluate: Callable[[], dict[str, Tensor]],
        settings: PhaseSettings,
        extensions: Extensions | None = None,
        execution: Execution | None = None,
        rate_per_micro_batch: bool = False,
        parts: Parts | None = None,
    ) -> None:
        self.model, self.task, self.batches = model, task, batches
        self.settings, self.extensions = settings, extensions or Extensions()
        self.execution = execution or Execution()
        self._evaluate = evaluate
        self._ranks, self._seed = ranks.here(), torch.initial_seed()  # the one that the phase began with
        self._check_ranks()
        self.step = 0
        self.steps_per_epoch = batches.steps_per_epoch // settings.micro_batches
        self._rate_ahead = 1 - 1 / settings.micro_batches if rate_per_micro_batch else 0.0  # in steps
        self.num_steps = settings.num_epochs * self.steps_per_epoch
        if settings.max_steps is not None:
            self.num_steps = min(self.num_steps, settings.max_steps)
        self.parameters: list[Tensor] = [p for p in model.parameters() if p.requires_grad]
        device = self.parameters[0].device
        # The fused kernels read the rate as float64 on a CPU, as if it were a plain number, and as float32 on a GPU.
        rate_dtype = torch.float64 if device.type == "cpu" else torch.float32
        self._learning_rate = torch.tensor(settings.optimizer.lr, dtype=rate_dtype, device=device)
        self._on_plateau = RateOnPlateau(settings.lr_schedule, settings.optimizer.lr)
        self._stop = torch.zeros((), dtype=torch.float32, device=device)  # what the fused kernels read it as
        self._first_bad_step = torch.full((), -1, dtype=torch.int64, device=device)
        self._device_step = torch.zeros((), dtype=torch.int64, device=device)
        self._epoch: int | None = None
        self._position = torch.zeros((), dtype=torch.int64, device=device)
        self._part = self._take_part(settings.micro_batches)
        own = [parameters for objective in self.extensions.objectives for parameters in objective.own_parameters()]
        self.optimizer = build_optimizer(settings.optimizer, self.parameters, self._learning_rate, self._stop, own)
        self._rates = [group["lr"] for group in self.optimizer.param_groups]
        self._view = WeightView(model, task, self.extensions.effective_weights, parts)
        replace_forwards(model, self.extensions.layer_forwards)
        self._recorded = [r.recorded for r in self.extensions.distinct() if isinstance(r, Recorded)]
        names = [name for recorded in self._recorded for name in recorded]
        self._recorder = StepRecorder(["train/loss", "train/learning_rate", *names], RECORDER_CAPACITY, device)
        self._num_undrained = 0
        # A trainer keeps no method of its own where it need not: it would only be freed, with its network, when Python
        # looks for cycles, and the next phase would have to fit beside it.
        self._replays: dict[bool, Replay[None]] = {}
        if self.execution.capture and batches.is_resident:  # one graph each: a graph cannot branch
            self._replays = {observe: Replay(partial(self._learn, observe)) for observe in (False, True)}
        self._masks_seen: list[int] = []
        self._multipliers: list[Tensor] = []
        self._masks_weights = any(getattr(after, "moves_weights", True) for after in self.extensions.after_steps)
        self._compiled_edit: Callable[[list[Tensor]], None] | None = None
        if self.execution.compile != "none" and self.extensions.gradient_edits:
            self._compiled_edit = torch.compile(self._edit_gradients, dynamic=False)
        if self.execution.compile == "all":
            task.called(model).compile()

    def run(
        self,
        is_pause_due: Callable[[], bool] = lambda: False,
        pause: Callable[[list[dict[str, float]]], None] = lambda rows: None,
    ) -> Iterator[Evaluation]:
        """Train to the end of the phase, yielding after each evaluation; may be resumed after `load_state_dict`.

        Args:
            is_pause_due: asked between two evaluations, after each step.
            pause: called then with the rows since the last pause or yield, all that a checkpoint needs being at rest.

        Raises:
            NonFiniteLossError: naming the first step whose loss was not finite.
        """
        self.model.train()
        rows: list[dict[str, float]] = []
        while self.step < self.num_steps:
            epoch, position = divmod(self.step, self.steps_per_epoch)
            is_due = self._is_due(position + 1)
            is_yield = is_due or self.step + 1 == self.num_steps
            self.train_step(observe=is_yield)
            if is_yield or self._num_undrained == self._recorder.capacity:
                rows += self.drain()
            if is_yield:
                started = time.monotonic()
                metrics = self._ranks.of_first({name: float(value) for name, value in self.evaluate().items()})
                self._on_plateau.see(metrics.get("loss", math.nan))
                yield Evaluation(self.step, epoch, is_due, metrics, time.monotonic() - started, rows)
                rows = []
            elif is_pause_due():
                pause(rows + self.drain())
                rows = []

    def evaluate(self) -> dict[str, Tensor]:
        """The metrics of the network as it would be handed on, as 0-dim tensors."""
        return self._view.evaluated(self._evaluate)

    def baked(self) -> AbstractContextManager[None]:
        """While it lasts, the network's plain weights are the effective ones of evaluation."""
        return self._view.baked()

    def score_gradients(self) -> None:
        """Show the mean gradient of some batches to the extensions that ask for it; nothing is trained by them."""
        for scoring in self.extensions.scorings:
            gradients = self._mean_gradients(scoring.num_scoring_batches)
            with torch.no_grad():
                scoring.take_gradients(self.parameters, gradients)

    def _mean_gradients(self, num_batches: int) -> list[Tensor]:
        """The gradient over the first batches of the first epoch; generators, batches and buffers stand as they did."""
        generators = _generator_states(self.parameters[0].device)
        buffers = [(buffer, buffer.clone()) for buffer in self.model.buffers()]  # BatchNorm's means
        self.model.train()
        self._part = self._take_part(1)
        self._take_place()
        self.optimizer.zero_grad(set_to_none=True)
        self._draw_apart()
        for batch in range(num_batches):
            place = batch % (self.steps_per_epoch * self.settings.micro_batches)
            self._position.fill_(place)
            self._backward(place, num_batches)
        gradients = self._gradients()
        self._ranks.mean_(gradients)
        self.optimizer.zero_grad(set_to_none=True)
        self._epoch = None
        self._part = self._take_part(self.settings.micro_batches)
        for buffer, before in buffers:
            buffer.copy_(before)
        _restore_generators(generators)
        return gradients

    def train_step(self, observe: bool = False) -> None:
        """One update from the data that are next; `run` is made of these. Drain before the recorder is full.

        Args:
            observe: whether the observers look at this step's gradients.
        """
        self._take_place()
        self._set_learning_rate()
        self._see_masks()
        if self._replays:
            self._replays[observe]()
        else:
            self._learn(observe)
        self.step += 1
        self._num_undrained += 1

    def drain(self) -> list[dict[str, float]]:
        """The rows recorded since the last call, oldest first.

        Raises:
            NonFiniteLossError: naming the first step whose loss was not finite.
        """
        rows = self._recorder.drain(self._num_undrained)
        self._num_undrained = 0
        first = self.step - len(rows)
        bad_step = int(self._first_bad_step)
        if bad_step >= 0:
            loss = rows[bad_step - first]["train/loss"]
            raise NonFiniteLossError(
                f"The loss became {loss} at step {bad_step + 1} of the phase; nothing was updated from there on and "
                "the last checkpoint is kept: lower the phase's optimizer.lr or pruner.penalty.strength."
            )
        return [{"step": first + i + 1, **row} for i, row in enumerate(rows)]

    def state_dict(self) -> dict[str, Any]:
        """All that the next step depends on beside the weights: tensors and plain values."""
        self._see_masks()
        return {
            "step": self.step,
            "optimizer": self.optimizer.state_dict()["state"],
            "extensions": [e.state_dict() for e in self.extensions.distinct() if isinstance(e, Stateful)],
            "generators": _generator_states(self.parameters[0].device),
            "on_plateau": self._on_plateau.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Stand again where `state_dict` was taken; the weights are the caller's to restore."""
        self.step, self._epoch, self._masks_seen = state["step"], None, []
        self._device_step.fill_(self.step)
        self._stop.zero_()
        self._first_bad_step.fill_(-1)
        groups = self.optimizer.state_dict()["param_groups"]
        self.optimizer.load_state_dict({"state": state["optimizer"], "param_groups": groups})
        self._lay_out_moments()
        for group, rate in zip(self.optimizer.param_groups, self._rates, strict=True):
            group["lr"] = rate  # load_state_dict has put a copy there, which no schedule would reach
        stateful = [e for e in self.extensions.distinct() if isinstance(e, Stateful)]
        for extension, saved in zip(stateful, state["extensions"], strict=True):
            extension.load_state_dict(saved)
        if "on_plateau" in state:  # early checkpoints have none
            self._on_plateau.load_state_dict(state["on_plateau"])
        _restore_generators(state["generators"])

    def _lay_out_moments(self) -> None:
        """Let each moment lie in memory as its parameter does: torch keeps the saved strides, and the fused kernels go
        through parameter, gradient and moments place by place."""
        for parameter, state in self.optimizer.state.items():
            for name, value in state.items():
                is_moment = isinstance(value, Tensor) and value.shape == parameter.shape
                if is_moment and value.stride() != parameter.stride():
                    state[name] = torch.empty_like(parameter).detach().copy_(value)

    def _is_due(self, steps_into_epoch: int) -> bool:
        every = self.settings.evaluate_every_steps or self.steps_per_epoch
        return steps_into_epoch % every == 0  # Deviation 12

    def _take_place(self) -> None:
        """Stand at the next batch; within an epoch the steps themselves move the place on."""
        epoch, position = divmod(self.step, self.steps_per_epoch)
        if epoch != self._epoch:
            self.batches.start_epoch(epoch)
            self._position.fill_(position * self.settings.micro_batches + self._part.first)
            self._epoch = epoch

    def _see_masks(self) -> None:
        """Mask the optimiser's state where masks are new, so that no momentum survives a cut."""
        versions = [masking.version for masking in self.extensions.maskings]
        if versions == self._masks_seen:
            return
        self._masks_seen = versions
        held = {name: of for masking in self.extensions.maskings for name, of in masking.held.items()}
        parameters = dict(self.model.named_parameters())
        for name, multiplier in held.items():
            for value in self.optimizer.state.get(parameters[name], {}).values():
                if isinstance(value, Tensor) and value.shape == multiplier.shape:
                    value.mul_(multiplier)
        # no other device is asked for values, a graph cannot branch, and compiled code is not to be made twice
        may_skip = self._stop.device.type == "cpu" and not (self._replays or self._compiled_edit)
        is_dense = may_skip and all(bool(multiplier.all()) for multiplier in held.values())
        self._multipliers = [] if is_dense else list(held.values())

    def _learn(self, observe: bool) -> None:
        """Gather, forward, backward and update: all of a step that happens on the device."""
        self.optimizer.zero_grad(set_to_none=True)
        self._draw_apart()
        first = self.step % self.steps_per_epoch * self.settings.micro_batches
        own = range(self._part.first, self.settings.micro_batches, self._part.stride)
        losses = [self._backward(first + place, len(own)) for place in own]
        loss = losses[0] if len(own) == 1 else torch.stack(losses).mean()
        self._average_over_ranks(loss)
        self._update(loss, observe)

    def _backward(self, step: int, num_parts: int) -> Tensor:
        """Add the gradient of one micro-batch, weighted by its share, and return its loss."""
        batch = self.batches.at(self._position, step)
        self._position.add_(self._part.stride)
        with self.execution.precision(self._position.device):
            loss, outputs = self._view.forward(batch)
        for objective in self.extensions.objectives:
            loss = loss + objective.term(outputs, batch)
        if self._ranks.size > 1 and isinstance(self.batches, Divided):
            loss = loss * self.batches.weight
        (loss if num_parts == 1 else loss / num_parts).backward()
        return loss.detach()

    def _check_ranks(self) -> None:
        """Refuse what several ranks would not train as one process does."""
        normalised = [name for name, layer in self.model.named_modules() if isinstance(layer, _BatchNorm)]
        if self._ranks.size > 1 and normalised:
            raise ValueError(
                f"{self._ranks.size} ranks cannot train this network together: {normalised[0]} normalises over the "
                "batch (BatchNorm), of which each rank sees a part; train it in one process."
            )

    def _take_part(self, num_micro_batches: int) -> Part:
        """What this rank computes of so many micro-batches, all of it where they are not to be divided."""
        part = Part()
        if self._ranks.size > 1 and isinstance(self.batches, Divided):
            part = self._ranks.part(num_micro_batches)
            self.batches.take(part)
        return part

    def _draw_apart(self) -> None:
        """Let each of several ranks draw its own noise, as it sees other examples."""
        if self._ranks.size > 1:
            machine.seed_everything(self._seed, f"step {self.step} of rank {self._ranks.rank}")

    @torch.no_grad()
    def _average_over_ranks(self, loss: Tensor) -> None:
        """Make loss and gradients, those of own parameters too, the whole batch's; draw the same noise from here on."""
        if self._ranks.size > 1:
            trained = [p for group in self.optimizer.param_groups for p in group["params"]]
            self._ranks.mean_([*(p.grad for p in trained if p.grad is not None), loss])
            machine.seed_everything(self._seed, f"step {self.step}")

    def _edit_gradients(self, gradients: list[Tensor]) -> None:
        for gradient_edit in self.extensions.gradient_edits:
            gradient_edit.edit(self.parameters, gradients)
        if self._multipliers:
            torch._foreach_mul_(gradients, self._multipliers)

    @torch.no_grad()
    def _update(self, loss: Tensor, observe: bool) -> None:
        self._watch(loss)
        gradients = self._gradients()
        for observer in self.extensions.observers if observe else ():
            observer.observe(self.parameters, gradients)
        (self._compiled_edit or self._edit_gradients)(gradients)
        self.optimizer.step()
        for after in self.extensions.after_steps:
            after.after_step(self.parameters, self._learning_rate)
        if self._masks_weights and self._multipliers:
            torch._foreach_mul_(self.parameters, self._multipliers)
        values = [value for recorded in self._recorded for value in recorded.values()]
        self._recorder.write([loss, self._learning_rate, *values])

    def _gradients(self) -> list[Tensor]:
        """Of each parameter.

        Raises:
            ValueError: naming those that took no part in the loss.
        """
        gradients = [p.grad for p in self.parameters if p.grad is not None]
        if len(gradients) < len(self.parameters):
            idle = [name for name, p in self.model.named_parameters() if p.requires_grad and p.grad is None]
            raise ValueError(
                f"{', '.join(idle[:MOST_NAMED])} took no part in the loss, and nothing says what becomes of such "
                "weights: leave them out of the network, or freeze them (requires_grad_(False))."
            )
        return gradients

    def _watch(self, loss: Tensor) -> None:
        """Remember the first non-finite step and stop all updates from it on, without asking the device."""
        is_bad = ~torch.isfinite(loss)
        is_first = is_bad & (self._first_bad_step < 0)
        self._first_bad_step.copy_(torch.where(is_first, self._device_step, self._first_bad_step))
        self._stop.copy_(torch.maximum(self._stop, is_bad.to(self._stop)))
        self._learning_rate.mul_(1 - self._stop)  # after-steps do not know the switch of the optimiser
        self._device_step.add_(1)

    def _set_learning_rate(self) -> None:
        factor = lr_factor(self.settings.lr_schedule, self.step + self._rate_ahead, self.num_steps)
        self._learning_rate.fill_(self.settings.optimizer.lr * factor * self._on_plateau.factor)


def _generator_states(device: torch.device) -> dict[str, Tensor]:
    states = {"cpu": torch.get_rng_state()}
    if device.type == "cuda":
        states["cuda"] = torch.cuda.get_rng_state(device)
    return states


def _restore_generators(states: dict[str, Tensor]) -> None:
    torch.set_rng_state(states["cpu"])
    if "cuda" in states:
        torch.cuda.set_rng_state(states["cuda"])
