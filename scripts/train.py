"""Train one experiment: python scripts/train.py experiment=lenet5_mnist pruner=relevance seed=0 scale=paper."""

import logging
import sys

from sparsity import config, provenance
from sparsity.report.terminal import render_runs
from sparsity.settings import Settings


def main(settings: Settings) -> None:
    """Run an experiment, resume it, or say that it is already done."""
    directory = provenance.run_directory(settings)
    names = f"pruner={settings.pruner.name}, seed={settings.seed}"
    print(f"{settings.experiment} at scale={settings.scale}, {names}: {directory}", flush=True)
    if settings.force:
        provenance.clear(directory)
    if provenance.is_done(directory):
        print("already done; force=true runs it again")
        return
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stdout)
    for warning in config.ignored(settings, config.overrides()):
        logging.warning("warning: %s", warning)
    from sparsity import pipeline  # imports torch: only now, so that what is done answers at once

    experiment = config.build(settings)
    summary = pipeline.rehearse(experiment) if settings.scale == "rehearsal" else pipeline.run(experiment)
    print(render_runs([directory]))
    if settings.scale == "rehearsal":
        memory, hours = summary["cost"]["peak_memory_bytes"] / 2**30, summary["cost"]["projected_hours"]
        print(
            f"peak memory {memory:.2f} GiB; the whole experiment would take {hours:.2f} h at this pace on this device"
        )


if __name__ == "__main__":
    config.command(main)
