"""Train one experiment: python scripts/train.py experiment=lenet5_mnist pruner=relevance seed=0 scale=paper.

On several GPUs of a machine: torchrun --nproc-per-node 4 scripts/train.py experiment=vgg16_imagenet scale=paper.
"""

import logging
import os
import sys
from pathlib import Path

from sparsity import config, provenance, sweeps
from sparsity.hardware import ranks
from sparsity.hardware.machine import has_cuda
from sparsity.report.reading import load_summary
from sparsity.report.sweep import render_sweep
from sparsity.report.terminal import render_runs
from sparsity.settings import Settings

REQUEUED = "SLURM_RESTART_COUNT"  # set by Slurm in a job that it has put back into the queue


def main(settings: Settings) -> float:
    """Run an experiment, resume it, or say that it is already done; what a sweep is to maximise."""
    ranks.check_launch(config.is_multirun())
    if not ranks.is_first():
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115  # the first one speaks for all
    directory = provenance.run_directory(settings)
    names = f"pruner={settings.pruner.name}, seed={settings.seed}"
    print(f"{settings.experiment} at scale={settings.scale}, {names}: {directory}", flush=True)
    if ranks.is_first() and (config.is_multirun() or settings.sweep_name != sweeps.UNNAMED):
        sweeps.register(settings, config.job_words())
    is_redone = settings.force and REQUEUED not in os.environ  # else a job would lose all each time it is put back
    if provenance.is_done(directory) and not is_redone:
        print("already done; force=true runs it again")
        return objective(settings, directory)
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stdout)
    for warning in config.ignored(settings, config.overrides()):
        logging.warning("warning: %s", warning)
    from sparsity.run import pipeline  # imports torch: only now, so that what is done answers at once

    train = pipeline.rehearse if settings.scale == "rehearsal" else pipeline.run
    with ranks.joined(on_gpus=settings.machine.device != "cpu" and has_cuda()):
        summary = train(config.build(settings), anew=is_redone)
    print(render_runs([directory]))
    if settings.scale == "rehearsal" and summary.cost:
        memory, hours = summary.cost.peak_memory_bytes / 2**30, summary.cost.projected_hours
        print(
            f"peak memory {memory:.2f} GiB; the whole experiment would take {hours:.2f} h at this pace on this device"
        )
    return objective(settings, directory)


def objective(settings: Settings, directory: Path) -> float:
    """The validation metric of the first final phase, by default at the paper's sparsity; 0 if that was not reached."""
    rows = load_summary(directory).rows
    return next((row.val for row in rows if row.start == settings.finetune.start_from[0]), 0.0)


def conclude(results: Path, sweep: str) -> None:
    """Show the runs of a sweep side by side, those that failed included."""
    if not any(sweeps.folder(results, sweep).glob("*.json")):
        return  # none has begun, and why is said already
    try:
        print(render_sweep(results, sweep), flush=True)
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)


if __name__ == "__main__":
    config.command(main, conclude)
