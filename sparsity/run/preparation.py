"""All phases of a run put together before the first step of any: what does not fit is said now, not after hours.

Each is made as it will be, network, optimiser, batches, schedule and trigger; the regularised one also scores its
weights and chooses those that would go; then they are given up again. A phase begins from a random state of its own, so
that this leaves no trace.
"""

import torch

from sparsity.pruning.schedules import build_trigger
from sparsity.run.compatibility import Images
from sparsity.run.phase import Phase
from sparsity.run.workspace import Workspace
from sparsity.settings import PhaseSettings, final_sparsity
from sparsity.training.lr_schedules import lr_factor

MISFITS = (RuntimeError, TypeError, AttributeError, LookupError, ArithmeticError, MemoryError)


def check_phases(work: Workspace) -> None:
    """Refuse a run of which a phase could not begin.

    Raises:
        ValueError: naming the setting, or the phase and what stands in its way.
    """
    settings = work.settings
    phases = {"regularise": settings.regularise, "finetune": settings.finetune}
    if settings.baseline.source == "train":
        phases = {"baseline": settings.baseline_phase, **phases}
    for name, phase in phases.items():
        _check_batch(work, name, phase)
        try:
            _put_together(work, name, phase)
        except MISFITS as error:
            said = (str(error).strip().splitlines() or [""])[0].rstrip(".")
            reason = said if type(error) is RuntimeError else f"{type(error).__name__}: {said}".removesuffix(": ")
            raise ValueError(
                f"The phase {name} cannot begin ({reason}): choose a model, a dataset, a task and a pruner that fit "
                "each other and this machine; HYDRA_FULL_ERROR=1 shows where, in code of your own."
            ) from error


def _check_batch(work: Workspace, name: str, phase: PhaseSettings) -> None:
    num_train = len(work.data.train)
    if phase.batch_size > num_train:
        raise ValueError(
            f"{name}.batch_size={phase.batch_size} is more than the {num_train} training examples of {work.data.name}: "
            f"choose at most {num_train}."
        )


def _put_together(work: Workspace, name: str, settings: PhaseSettings) -> None:
    phase = work.phase(name, settings, 0, is_regularised=name == "regularise")
    lr_factor(settings.lr_schedule, 0, max(1, phase.trainer.num_steps))
    if phase.trainer.extensions.objectives or not isinstance(work.data, Images):  # images have been held to the network
        _try_a_batch(phase)
    if name == "regularise" and work.settings.pruner.prunes:
        build_trigger(work.settings, work.plan.regularise, None)
        _try_a_prune(work, phase)


def _try_a_batch(phase: Phase) -> None:
    """Show the network a batch, from which it learns nothing: no shape tells beforehand whether it can read one.

    And show what comes out to the terms of the loss, which may have no use for it.
    """
    trainer = phase.trainer
    trainer.batches.start_epoch(0)
    batch = trainer.batches.at(torch.zeros((), dtype=torch.int64, device=trainer.parameters[0].device), 0)
    objectives = trainer.extensions.objectives
    with torch.set_grad_enabled(bool(objectives)):
        _, outputs = trainer.task.forward(phase.model.eval(), batch)
        for objective in objectives:
            objective.term(outputs, batch)


def _try_a_prune(work: Workspace, phase: Phase) -> None:
    """Score the weights and choose so many as the sparsity of the settings takes, or one; all of them stay."""
    pruner, target = phase.pruner, final_sparsity(work.settings)
    count = 1 if target is None else max(1, pruner.count_to(target))
    with pruner.without(count):
        pass
