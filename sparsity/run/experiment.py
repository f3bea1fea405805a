"""What is to be run: an experiment built from settings, its data, and where it computes."""

import logging
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol, Self, runtime_checkable

import torch
from torch import Tensor, nn

from sparsity.hardware import machine, ranks
from sparsity.pruning.method import Method
from sparsity.pruning.methods.dense import Dense
from sparsity.pruning.scores import Score
from sparsity.run.compatibility import check_fit, check_splits
from sparsity.settings import Settings, leaf_name
from sparsity.training.execution import Execution, Replay
from sparsity.training.loop import Batches
from sparsity.training.tasks import AnyTask

logger = logging.getLogger(__name__)


@runtime_checkable
class Digested(Protocol):
    """A split that knows a digest of its examples, by which other examples under the same name are noticed."""

    def digest(self) -> str:
        """Another one for other examples, or for the same in another order."""
        ...


class Split(Protocol):
    """A part of a data set, under the name of exactly these examples."""

    @property
    def identity(self) -> str:
        """Such as cifar10/train-minus-heldout."""
        ...

    def __len__(self) -> int: ...


class Data(Protocol):
    """A data set, split for a run; each builder of conf/dataset returns one.

    name: of what was really loaded. checksums: by published file. extra_tests: scored beside `test`, by name. What a
    split holds stays between a data set's own methods.
    """

    @property
    def name(self) -> str: ...

    @property
    def checksums(self) -> dict[str, str]: ...

    @property
    def train(self) -> Split: ...

    @property
    def val(self) -> Split: ...

    @property
    def test(self) -> Split: ...

    @property
    def extra_tests(self) -> Mapping[str, Split]: ...

    def to(self, device: torch.device) -> Self:
        """The same data on the device, or ready to be streamed there."""
        ...

    def training_batches(self, batch_size: int, seed: int, kind: str) -> Batches:
        """Training batches in an order that depends on the seed, the kind of phase and the epoch."""
        ...

    def evaluation_batches(self, split: Any) -> Iterable[Any]:
        """The whole of a split in order, as the task evaluates it."""
        ...


@runtime_checkable
class Furnished(Protocol):
    """Data with files that a trained network cannot be used without, such as a tokenizer: name -> where it stands."""

    artifacts: dict[str, Path]


def without_method(**offered: Any) -> Method:
    """The method of a phase without one."""
    return Dense()


@dataclass(frozen=True)
class Experiment:
    """All that a run needs, built from its settings: constructors of network, data and method, and the task.

    score: of the weights, in the place of the method's own; the smallest go first.
    """

    settings: Settings
    build_model: Callable[[], nn.Module]
    build_data: Callable[[], Data]
    task: AnyTask
    build_method: Callable[..., Method] = without_method
    score: Score | None = None

    def load(self, device: torch.device) -> Data:
        """The data on the device, once it is clear that the network can take them.

        Raises:
            ValueError: if the data cannot be had or a split is empty, or the network does not fit them.
        """
        data = self.build_data()
        check_splits(data)
        check_fit(self.build_model, self.task, data, leaf_name(self.settings.model))
        return data.to(device)


@dataclass(frozen=True)
class Setup:
    """An experiment with its data on a device: networks are made and scored here."""

    experiment: Experiment
    device: torch.device
    data: Data

    def __post_init__(self) -> None:
        decided = self.settings.machine
        assert "auto" not in (decided.precision, decided.compile), "on_machine comes first"

    @property
    def settings(self) -> Settings:
        """The run's settings."""
        return self.experiment.settings

    def new_model(self) -> nn.Module:
        """The network on the device, initialised from the run's seed alone."""
        with machine.seeded(self.settings.seed, "initialisation", self.device):
            model = self.experiment.build_model()
        if self.memory_format is torch.contiguous_format:
            model.register_forward_pre_hook(_contiguous)  # batches come in channels_last, which would win
        return model.to(self.device, memory_format=self.memory_format)  # type: ignore[call-overload]

    @property
    def memory_format(self) -> torch.memory_format:
        """How images and the weights of convolutions lie in memory; a linear layer ignores it.

        channels_last nearly halves a LeNet step on a CPU and is what tensor cores want of bf16. For fp32 on a GPU
        torch's maintainers expect no gain of it (pytorch/pytorch#44943: 1.6 times slower on a V100).
        """
        asked, is_cpu = self.settings.machine.memory_format, self.device.type == "cpu"
        is_better = is_cpu or self.settings.machine.precision == "bf16"
        is_wanted = is_better if asked == "auto" else asked == "channels_last"
        return torch.channels_last if is_wanted else torch.contiguous_format

    @property
    def execution(self) -> Execution:
        """How the steps of this run are executed."""
        settings, kind = self.settings.machine, self.device.type
        is_fused = settings.compile != "none" and machine.can_compile(kind)
        fused = settings.compile if is_fused else "none"
        return Execution(
            bf16=settings.precision == "bf16",
            compile=fused,
            capture=settings.capture and kind == "cuda" and ranks.here().size == 1,
            compact=settings.compact and kind == "cpu" and fused != "all",  # compiled code would be made at each prune
        )

    def evaluate(self, model: nn.Module, split: Split) -> dict[str, Tensor]:
        """The task's metrics on a split, as tensors on the device."""
        with self.execution.precision(self.device):
            return self.experiment.task.evaluate(model, self.data.evaluation_batches(split))

    def evaluator(self, model: nn.Module, split: Split, is_resident: bool) -> Callable[[], dict[str, Tensor]]:
        """An evaluation to be repeated; data that lies on a GPU is passed over in one captured graph."""

        def evaluate() -> dict[str, Tensor]:
            return self.evaluate(model, split)

        return Replay(evaluate, num_eager=1) if self.execution.capture and is_resident else evaluate

    def measure(self, model: nn.Module, split: Split) -> dict[str, float]:
        """The task's metrics on a split, as numbers."""
        return {name: float(value) for name, value in self.evaluate(model, split).items()}

    def score(self, model: nn.Module, split: Split) -> float:
        """The metric alone, as a number."""
        return self.measure(model, split)[self.settings.metric]


def on_machine(experiment: Experiment, before: str | None = None) -> tuple[Experiment, torch.device]:
    """Where an experiment computes, made ready, and the experiment with all decided that is left to the machine.

    Args:
        before: the precision that a run to be resumed had until now.

    Raises:
        ValueError: if the device that is asked for is not there.
    """
    asked = experiment.settings.machine
    device = machine.prepare(asked)
    precision, why = machine.precision_on(asked, device, before)
    logger.info("precision: %s (%s)", precision, why)
    machine.round_products(precision)
    decided = replace(asked, precision=precision, compile=machine.fusion_on(asked.compile, device))
    return replace(experiment, settings=replace(experiment.settings, machine=decided)), device


def set_up(experiment: Experiment) -> Setup:
    """An experiment with its data on this machine, for networks that are only scored. Raises as its two steps do."""
    experiment, device = on_machine(experiment)
    return Setup(experiment, device, experiment.load(device))


def _contiguous(_: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    return tuple(tensor.contiguous() for tensor in inputs)
