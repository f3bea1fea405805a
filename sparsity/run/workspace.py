"""What a run holds while it runs, directory, data and writers, and the phases put together from them."""

import logging
import resource
import shutil
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, nullcontext, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch

from sparsity import provenance
from sparsity.files import clear, locked, remove_temporaries
from sparsity.hardware import gpu, machine, ranks
from sparsity.pruning.method import Ramp, Steps
from sparsity.pruning.pruner import Pruner
from sparsity.run.experiment import Data, Digested, Experiment, Furnished, Setup, on_machine, without_method
from sparsity.run.manifest import Manifest
from sparsity.run.phase import Phase
from sparsity.run.plan import RunPlan, make_plan, plan_phase
from sparsity.run.stopping import Stopped
from sparsity.settings import PhaseSettings, Settings, final_sparsity
from sparsity.tracking.record import JsonlWriter
from sparsity.tracking.wandb_writer import WandbWriter
from sparsity.tracking.writers import ConsoleWriter, Mirrors
from sparsity.training.extensions import Extensions
from sparsity.training.loop import Trainer
from sparsity.weights.live_units import live_units

logger = logging.getLogger(__name__)


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
            self.experiment.build_method if is_regularised else without_method,
            schedule.fraction,
            Steps(num_steps, steps_per_epoch, every, num_train),
            seed,
            self.experiment.score,
            self.settings.protocol,
            Ramp(schedule.begin * num_steps, schedule.end * num_steps, final_sparsity(self.settings)),
        )
        extensions = Extensions.of(pruner.parts)
        has_own_forward = bool(extensions.effective_weights or extensions.layer_forwards)
        trainer = Trainer(
            model,
            self.experiment.task,
            batches,
            self.evaluator(model, self.data.val, batches.is_resident),
            settings,
            extensions,
            self.execution,
            self.settings.protocol.cosine_per_micro_batch,
            live_units(model, pruner.masks) if self.execution.compact and not has_own_forward else None,
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

    What an earlier run left there goes if this one is to begin `anew`, once it is clear that device and data are there
    and a GPU passes its checks.

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
        settings = experiment.settings
        if anew and device.type == "cuda":
            here.first(lambda: _check_gpu(settings, machine.describe(device)))
        data = here.in_turn(lambda: experiment.load(device)) if anew else None
        if anew:
            here.first(lambda: clear(directory))
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
            path, every_steps = directory / "metrics.jsonl", settings.tracking.every_steps
            with JsonlWriter(path, every_steps) as log, machine.enough_memory():
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


def _check_gpu(settings: Settings, name: str) -> None:
    """Hold the GPU to its checks away from the run's directory, which still holds what an earlier run left."""
    with TemporaryDirectory() as folder:
        provenance.write_config(Path(folder), settings)
        gpu.checked(settings, Path(folder), name)


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
