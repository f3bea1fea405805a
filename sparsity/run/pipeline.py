"""The paper's algorithm: baseline, then regularise and prune, then fine-tune without the penalty.

`run` is the algorithm of the paper's section 4 on one page; what it calls stands in a file of its own: how a phase
survives a crash in `phase`, what happens at an evaluation in `gating`, what is written down in `outcome`.
"""

import logging
from contextlib import suppress
from dataclasses import asdict, fields, replace
from pathlib import Path

from sparsity import provenance
from sparsity.data.published.checkpoints import PublishedCheckpoint, published_for, recognised
from sparsity.data.published.download import fetch
from sparsity.hardware import ranks
from sparsity.pruning.schedules import build_trigger
from sparsity.pruning.summary import sparsity
from sparsity.records import Baseline, Row, Summary
from sparsity.run.alarms import Alarms, path_finder
from sparsity.run.controllers import Watch
from sparsity.run.experiment import Experiment
from sparsity.run.gating import GatedPruning
from sparsity.run.kept_states import State
from sparsity.run.outcome import Ended, Result, write_outcome
from sparsity.run.phase import Interrupted, Phase
from sparsity.run.plan import plan_phase
from sparsity.run.preparation import check_phases
from sparsity.run.workspace import Workspace, held, opened
from sparsity.settings import STARTS, leaf_name
from sparsity.tracking.record import JsonlWriter
from sparsity.weights.checkpoints import load_kept, plain_weights
from sparsity.weights.disk_sizes import measure_sizes, pruned_sizes
from sparsity.weights.given import read_weights

logger = logging.getLogger(__name__)


def run(experiment: Experiment, interrupt_after: int | None = None, anew: bool = False) -> Summary:
    """Run an experiment to its end, from wherever an earlier call stopped, and write its summary.

    Args:
        experiment: what to run.
        interrupt_after: raise `Interrupted` after so many evaluations of the regularised phase (rehearsals, tests).
        anew: from the beginning, in the place of what an earlier call left.

    Returns:
        What its summary.json says.
    """
    with opened(experiment, interrupt_after, anew) as work:
        check_phases(work)
        baseline, start = take_baseline(work)
        regularised, gated = regularise_and_prune(work, baseline, start)
        reached = regularised.pruner.sparsity  # before its network is made another
        results = [fine_tune(work, regularised, name) for name in starting_points(work, regularised)]
        if work.settings.protocol.report == "any_phase":
            results.append(best_of_all(work, regularised, results))
        ended = Ended(baseline, regularised, gated, reached, results)
        return ranks.here().first(lambda: conclude(work, start, ended))


def rehearse(experiment: Experiment, anew: bool = False) -> Summary:
    """Run a short experiment as if the machine were lost after its first evaluation, and resume it."""
    with suppress(Interrupted):
        run(experiment, interrupt_after=1, anew=anew)
    return run(experiment)


def take_baseline(work: Workspace) -> tuple[Baseline, State | None]:
    """Step 1: a network to start from: trained here (shared by all runs with this baseline), given, or none.

    Raises:
        ValueError: if a checkpoint does not fit, or the gate's validation data may have been trained on.
    """
    source = work.settings.baseline.source
    if source == "none":
        return Baseline(source=source, num_epochs=0, val=None, test=None, saw=()), None
    if source == "train":
        return train_baseline(work)
    if source == "file":
        return baseline_from_file(work, Path(work.settings.baseline.path or ""))
    return published_baseline(work)


def train_baseline(work: Workspace) -> tuple[Baseline, State]:
    """Train the dense network, or reuse the one that a run with the same baseline has trained."""
    settings = work.settings
    directory = provenance.baseline_directory(settings)
    with (
        held(directory, wait=True),
        JsonlWriter(directory / "metrics.jsonl", settings.tracking.every_steps) as log,
    ):
        phase = work.phase("baseline", settings.baseline_phase, 0, directory=directory, log=log)
        state = phase.intact("scored")
        if state is None:
            progress = phase.run(Watch())
            phase.restore(phase.load("best"))
            record = Baseline(
                source="train",
                num_epochs=settings.baseline.num_epochs,
                val=progress.best_metric,
                test=work.score(phase.model, work.data.test),
                saw=(work.data.train.identity,),
                seconds=progress.seconds,
            )
            phase.keep("scored", data=work.data_digests, **asdict(record))
            state = phase.load("scored")
    known = {field.name: state[field.name] for field in fields(Baseline) if field.name in state}
    return Baseline(**known | {"saw": tuple(state["saw"]), "chosen_on": ()}), state


def baseline_from_file(work: Workspace, path: Path) -> tuple[Baseline, State]:
    """Load a dense network from a file; ours says what it saw, of a copy of a published one it is known."""
    given = read_weights(path, work.new_model())
    if provenance.identity(work.settings) != work.identity:
        raise ValueError(f"{path} was changed while this run began; start it again.")
    known = recognised(work.identity["baseline.sha256"])
    saw, chosen_on = (known.saw, known.chosen_on) if known else (given.saw, ())
    baseline, state = _measured(work, path, given.weights, saw, chosen_on)
    if known:
        _warn_of_choice(known)
    return baseline, state


def published_baseline(work: Workspace) -> tuple[Baseline, State]:
    """Load the dense network that the literature or a library gives away for this model and these data."""
    settings = work.settings
    model, dataset = (leaf_name(node).lower() for node in (settings.model, settings.dataset))
    published = published_for(model, settings.dataset, dataset)
    path = ranks.here().in_turn(lambda: fetch(published.file, settings.data_dir))
    weights = read_weights(path, work.new_model()).weights
    baseline, state = _measured(work, path, weights, published.saw, published.chosen_on)
    logger.info("baseline: %s, %.2f on test; its publisher: %.2f", path.name, baseline.test, published.metric)
    _warn_of_choice(published)
    return baseline, state


def _warn_of_choice(published: PublishedCheckpoint) -> None:
    """Say of a published network that was chosen by its metric on some data what is tainted by that."""
    if published.chosen_on:
        logger.warning(
            "warning: %s was chosen on %s by its author's own word (%s): every part of that is slightly contaminated, "
            "the one that gates too; baseline=train is free of it",
            *(Path(published.file.path).name, " and ".join(published.chosen_on), published.source),
        )


def _measured(
    work: Workspace, path: Path, weights: State, saw: tuple[str, ...] | None, chosen_on: tuple[str, ...]
) -> tuple[Baseline, State]:
    """A given network as the start of a run, measured; refused if it may have seen the images that are to gate it."""
    if saw != (work.data.train.identity,) and not work.settings.baseline.allow_contaminated:
        raise ValueError(
            f"{path} was trained on {', '.join(saw or ['unknown data'])}, so {work.data.val.identity} may be "
            f"contaminated and cannot gate it; it should have seen {work.data.train.identity} only: "
            "set baseline.allow_contaminated=true to go on."
        )
    model = work.new_model()
    model.load_state_dict(weights)
    val, test = work.score(model, work.data.val), work.score(model, work.data.test)
    source, name = work.settings.baseline.source, path.name
    baseline = Baseline(source=source, checkpoint=name, num_epochs=0, val=val, test=test, saw=saw, chosen_on=chosen_on)
    return baseline, {"weights": weights, "masks": {}}


def regularise_and_prune(work: Workspace, baseline: Baseline, start: State | None) -> tuple[Phase, GatedPruning]:
    """Steps 2 and 3: train with the penalty; at each evaluation prune if the gate allows it."""
    settings, plan = work.settings, work.plan.regularise
    phase = work.phase("regularise", settings.regularise, work.plan.baseline.num_steps, is_regularised=True)
    if start is not None:
        phase.restore(start)
    trigger = build_trigger(settings, plan, baseline.val)
    one_epoch = replace(settings.regularise, num_epochs=1, max_steps=None)
    per_epoch = plan_phase(one_epoch, len(work.data.train)).num_evaluations
    has_path = path_finder(work.experiment.build_model, phase.plain_weights, work.data)
    alarms = Alarms(settings.pruner.name, phase.pruner.masks, plan.num_evaluations, has_path)
    gated = GatedPruning(phase, trigger, settings, per_epoch, alarms)
    phase.run(gated, work.interrupt_after)
    phase.pruner.finish()
    phase.keep("last_network")
    if settings.protocol.start_before_cut and gated.before_last_cut is not None:
        phase.keep_again("last_network", gated.before_last_cut)
    gated.conclude()
    return phase, gated


def starting_points(work: Workspace, regularised: Phase) -> list[str]:
    """Where the final phase starts: of those asked for, the ones that were reached."""
    return [name for name in work.settings.finetune.start_from if name == "last" or regularised.has(name)]


def fine_tune(work: Workspace, regularised: Phase, start: str) -> Result:
    """Step 4: train on without the penalty under a frozen mask, and score the best checkpoint by validation on test."""
    settings, plan = work.settings, work.plan
    number = settings.finetune.start_from.index(start)
    offset = plan.baseline.num_steps + plan.regularise.num_steps + number * plan.finetune.num_steps
    phase = work.phase(f"finetune/{start}", settings.finetune, offset)
    kept = "last_network" if start == "last" else start
    progress = phase.run(Watch(lambda: phase.restore(regularised.load(kept))))
    if not phase.has("best"):  # a final phase of no steps
        phase.keep("best")
    phase.restore(phase.load("best"))
    val, epoch = work.score(phase.model, work.data.val), min(progress.best_epoch + 1, settings.finetune.num_epochs)
    return _result(work, phase, start, val, epoch, progress.seconds)


def best_of_all(work: Workspace, regularised: Phase, results: list[Result]) -> Result:
    """The authors' choice: the best validation metric over all phases and sparsities, whatever its sparsity."""
    best = max(results, key=lambda result: result.row.val, default=None)
    if best is not None and best.row.val >= regularised.progress.best_metric:
        row = replace(best.row, start="best_of_all")
        return replace(best, row=row, seconds=0.0)  # its time is counted where it stands
    regularised.restore(regularised.load("best"))
    progress = regularised.progress
    return _result(work, regularised, "best_of_all", progress.best_metric, progress.best_epoch + 1, 0.0)


def conclude(work: Workspace, start: State | None, ended: Ended) -> Summary:
    """Measure what the networks take on the disk, and write all that stands at the end."""
    sizes = disk_sizes(work, start, ended.results) if work.settings.measure_sizes else {}
    return write_outcome(work, ended, sizes)


def disk_sizes(work: Workspace, start: State | None, results: list[Result]) -> dict[str, int]:
    """Bytes on disk of the dense network and of the pruned one: at the paper's sparsity, if that was reached."""
    reached = [result.row.start for result in results if result.row.start in STARTS]
    if not reached:
        return {}
    model = work.new_model()
    if start is not None:
        model.load_state_dict(start["weights"])
    sizes = measure_sizes("dense", plain_weights(model.state_dict()), work.directory)
    name = "paper_sparsity" if "paper_sparsity" in reached else reached[0]
    state = load_kept(work.directory / "checkpoints" / "finetune" / name / "best.pt", model)
    model.load_state_dict(state["weights"])
    return sizes | pruned_sizes(model, state["masks"], work.directory)


def _result(work: Workspace, phase: Phase, start: str, val: float, epoch: int, seconds: float) -> Result:
    """A network's metrics and counts; what it writes on a test split is kept as <phase>-<split>.txt."""
    kept, named = phase.pruner.masks.count_kept(), dict(phase.model.named_parameters())
    layers = {name: (tuple(named[name].shape), named[name].numel(), count) for name, count in kept.items()}
    num_kept, num_total = sum(kept.values()), sum(total for _, total, _ in layers.values())
    metric, measured = work.settings.metric, {}
    for name, split in {"test": work.data.test, **work.data.extra_tests}.items():
        measured[name] = work.measure(phase.model, split)
        phase.keep_text(name)
    test = measured.pop("test")
    row = Row(
        start=start,
        checkpoint=f"{phase.name}/best",
        sparsity=sparsity(num_kept, num_total),
        kept=num_kept,
        total=num_total,
        compression=num_total / max(num_kept, 1),
        val=val,
        test=test[metric],
        extra_tests={name: metrics[metric] for name, metrics in measured.items()},
        test_metrics={name: value for name, value in test.items() if name.startswith(f"{metric}_")},
        epoch=epoch,
        num_epochs=work.settings.finetune.num_epochs,
    )
    return Result(row, layers, seconds)
