"""Train one experiment: python scripts/train.py experiment=lenet5_mnist pruner=relevance seed=0 scale=paper."""

import shutil
import sys

from sparsity import config, provenance
from sparsity.settings import Settings


def main(settings: Settings) -> None:
    """Run an experiment, resume it, or say that it is already done."""
    directory = provenance.run_directory(settings)
    names = f"pruner={settings.pruner.name}, seed={settings.seed}"
    print(f"{settings.experiment} at scale={settings.scale}, {names}: {directory}", flush=True)
    if settings.force:
        shutil.rmtree(directory, ignore_errors=True)
    if provenance.is_done(directory):
        print("already done; force=true runs it again")
        return
    for warning in config.ignored_overrides(settings):
        print(f"warning: {warning}", file=sys.stderr)
    from sparsity import pipeline  # imports torch: only now, so that what is done answers at once

    pipeline.run(config.build(settings))


if __name__ == "__main__":
    config.command(main)
