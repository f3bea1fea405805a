"""What a run holds while it runs, directory, device, data and writers, and the phases put together from them."""

import logging
import resource
import shutil
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, nullcontext, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol, Self, runtime_checkable

import torch
from torch import Tensor, nn

from sparsity import provenance
from sparsity.files import clear, locked, remove_temporaries
from sparsity.hardware import gpu, machine, ranks
from sparsity.pruning.method import Method, Ramp, Steps
from sparsity.pruning.methods.dense import Dense
from sparsity.pruning.pruner import Pruner
from sparsity.pruning.scores import Score
from sparsity.run.compatibility import check_fit, check_splits
from sparsity.run.manifest import Manifest
from sparsity.run.phase import Phase
from sparsity.run.plan import RunPlan, make_plan, plan_phase
from sparsity.run.stopping import Stopped
from sparsity.settings import PhaseSettings, Settings, final_sparsity, leaf_name
from sparsity.tracking.record import JsonlWriter
from sparsity.tracking.wandb_writer import WandbWriter
from sparsity.tracking.writers import ConsoleWriter, Mirrors
from sparsity.training.execution import Execution, Replay
from sparsity.training.extensions import Extensions
from sparsity.training.loop import Batches, Trainer
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


def _dense(**offered: Any) -> Method:
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
    build_method: Callable[..., Method] = _dense
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
        return Execution(
            bf16=settings.precision == "bf16",
            compile=settings.compile if is_fused else "none",
            capture=settings.capture and kind == "cuda" and ranks.here().size == 1,
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


@dataclass(frozen=True)
class Workspace(Setup):
    """One run under way; it stops after `interrupt_after` evaluations of the regularised phase, if that is given.

    `identity` is which run it is, as it was opened; `manifest` tells which processes worked on it; `data_digests` are
    those of the splits that know one.
    """

    directory: Path
    identity: dict[str, Any]
    manifest: Manifest
    data_digests: dict[str, str]
    plan: RunPlan
    log: JsonlWriter
    mirrors: Mirrors
    interrupt_after: int | None = None

    def phase(
        self,
        name: str,
        settings: PhaseSettings,
        offset: int,
        is_regularised: bool = False,
        directory: Path | None = None,
        log: JsonlWriter | None = None,
    ) -> Phase:
        """A phase at its start, on a freshly initialised network; only the regularised one has the run's method.

        Data order and dropout derive from the run's seed and the kind of phase, so that two final phases see the same
        batches, whatever went before them.
        """
        kind, seed = name.partition("/")[0], self.settings.seed
        machine.seed_everything(seed, kind)
        model = self.new_model()
        batches = self.data.training_batches(settings.batch_size // settings.micro_batches, seed, kind)
        steps_per_epoch = batches.steps_per_epoch // settings.micro_batches
        every, num_train = settings.evaluate_every_steps or steps_per_epoch, len(self.data.train)
        num_steps, schedule = plan_phase(settings, num_train).num_steps, self.settings.schedule
        pruner = Pruner(
            model,
            self.settings.pruner,
            self.experiment.build_method if is_regularised else _dense,
            schedule.fraction,
            Steps(num_steps, steps_per_epoch, every, num_train),
            seed,
            self.experiment.score,
            self.settings.protocol,
            Ramp(schedule.begin * num_steps, schedule.end * num_steps, final_sparsity(self.settings)),
        )
        trainer = Trainer(
            model,
            self.experiment.task,
            batches,
            self.evaluator(model, self.data.val, batches.is_resident),
            settings,
            Extensions.of(pruner.parts),
            self.execution,
            self.settings.protocol.cosine_per_micro_batch,
        )
        return Phase(
            name=name,
            directory=directory or self.directory,
            trainer=trainer,
            pruner=pruner,
            metric=self.settings.metric,
            log=log or self.log,
            mirrors=self.mirrors,
            offset=offset,
            checkpoint_every_seconds=self.settings.machine.checkpoint_every_seconds,
            data_digests=self.data_digests,
            began=self.manifest.began,
        )


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


def _precision_before(settings: Settings, directory: Path) -> str | None:
    """The precision that stands in a run's config.yaml, if there are checkpoints to go on from.

    Raises:
        ValueError: if that is damaged, and so is the manifest, where it stands too.
    """
    path, folders = directory / provenance.CONFIG, (directory, provenance.baseline_directory(settings))
    if not path.is_file() or not any(any(folder.glob("checkpoints/**/*.pt")) for folder in folders):
        return None
    try:
        return str(provenance.read_config(directory)["machine"]["precision"])
    except (ValueError, LookupError, TypeError):
        recorded = provenance.read_manifest(directory).get("precision")
    if recorded is None and settings.machine.precision == "auto":
        raise ValueError(f"{path} and manifest.json are damaged: say the run's precision, as machine.precision=fp32.")
    logger.warning("warning: %s is damaged; it is written anew, with the precision in manifest.json.", path)
    return recorded


@contextmanager
def opened(experiment: Experiment, interrupt_after: int | None = None, anew: bool = False) -> Iterator[Workspace]:
    """Hold the run directory, prepare the machine and the writers, and leave a manifest that says how it ended.

    What an earlier run left there goes if this one is to begin `anew`, once it is clear that device and data are there.

    Raises:
        BusyError: if another process runs in the same directory.
        ValueError: if the data cannot be had or do not fit the network, or the device is not there or fails its checks.
    """
    settings = experiment.settings
    directory, identity = provenance.run_directory(settings), provenance.identity(settings)
    here = ranks.here()
    with held(directory, wait=False):
        before = None if anew else here.first(lambda: _precision_before(settings, directory))
        experiment, device = on_machine(experiment, before)
        data = here.in_turn(lambda: experiment.load(device)) if anew else None
        if anew:
            here.first(lambda: clear(directory))
        settings = experiment.settings
        precision = settings.machine.precision
        manifest = Manifest(directory, machine.describe(device, precision), precision)
        if here.is_first:
            provenance.write_config(directory, settings)
        _check_shared(directory)
        mirrors, exit_code = Mirrors(), 1
        try:
            if device.type == "cuda":
                finding = here.first(lambda: gpu.checked(settings, directory, machine.describe(device)))
                manifest.update(selfcheck=finding.describe())
                experiment = _executable(experiment, finding)
            data = data or here.in_turn(lambda: experiment.load(device))
            digests, plan = _digests(data), make_plan(settings, len(data.train))
            here.check_equal(digests, "The data")
            if here.is_first:
                _leave_artifacts(data, directory)
                _announce(plan, data)
                _open_mirrors(mirrors, settings, plan, directory)
            with JsonlWriter(directory / "metrics.jsonl", settings.tracking.every_steps) as log:
                kept = (directory, identity, manifest, digests)
                yield Workspace(experiment, device, data, *kept, plan, log, mirrors, interrupt_after)
            ending, exit_code = {"status": "done"}, 0
        except (Stopped, KeyboardInterrupt) as error:
            ending = {"status": "interrupted", "reason": getattr(error, "signal", "Ctrl-C")}
            raise
        except BaseException as error:
            ending = {"status": "failed", "reason": f"{type(error).__name__}: {error}"}
            raise
        finally:
            mirrors.finish(exit_code)
            # a disk that is full must not hide the error that says so
            with nullcontext() if exit_code == 0 else suppress(OSError):
                manifest.update(**ending, ended=provenance.now())


@contextmanager
def held(directory: Path, wait: bool) -> Iterator[None]:
    """Hold a directory, without what killed writers left in it, for this process or those that it is one of.

    Raises:
        BusyError: if another process holds it and `wait` is False.
    """

    def hold() -> None:
        stack.enter_context(locked(directory, wait))
        remove_temporaries(directory)

    with ExitStack() as stack:
        ranks.here().first(hold)
        yield


def _check_shared(directory: Path) -> None:
    """Hold all ranks to see what the first one writes."""
    here = ranks.here()
    if here.size > 1:
        seen = here.in_turn(lambda: provenance.read_manifest(directory))
        here.check_equal(seen, f"All must share one results_dir, but the contents of {directory}")


def _leave_artifacts(data: Data, directory: Path) -> None:
    for name, path in data.artifacts.items() if isinstance(data, Furnished) else ():
        shutil.copyfile(path, directory / name)


def _digests(data: Data) -> dict[str, str]:
    splits = {"train": data.train, "val": data.val, "test": data.test}
    return {part: split.digest() for part, split in splits.items() if isinstance(split, Digested)}


def peak_memory_bytes(device: torch.device) -> int:
    """The most memory held at once: the GPU's allocations, or the process's resident set."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def _contiguous(_: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    return tuple(tensor.contiguous() for tensor in inputs)


def _executable(experiment: Experiment, finding: gpu.Finding) -> Experiment:
    """The experiment as the GPU can execute it, and a warning if that is not as it was asked for."""
    if finding.capture:
        return experiment
    if finding.reason:
        logger.warning("warning: %s; the next run checks again.", finding.describe())
    settings = experiment.settings
    return replace(experiment, settings=replace(settings, machine=replace(settings.machine, capture=False)))


def _announce(plan: RunPlan, data: Data) -> None:
    """Say before training what will happen and what cannot be reached."""
    split = f"{len(data.train):,} train, {len(data.val):,} validation, {len(data.test):,} test"
    logger.info("data: %s (%s)", data.name, split)
    logger.info("plan: %s", plan.describe())
    for warning in plan.warnings:
        logger.warning("warning: %s", warning)


def _open_mirrors(mirrors: Mirrors, settings: Settings, plan: RunPlan, directory: Path) -> None:
    mirrors.open("the terminal", lambda: ConsoleWriter(plan.num_steps, settings.metric, plan.prunes_needed))
    if settings.tracking.mode == "none":
        return
    mirrors.open("W&B", lambda: WandbWriter(settings.tracking, directory, provenance.shown(settings)))
