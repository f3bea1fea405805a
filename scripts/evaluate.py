"""Score the kept checkpoints of a run again: python scripts/evaluate.py results/runs/<experiment>/<run>/seed0.

Prints one JSON line per checkpoint: sparsity, and the metric on validation and test data. For looking (metric against
sparsity), never for choosing: the run's own choice, by validation alone, stands in summary.json.
"""

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from sparsity import command_line, config, provenance
from sparsity.files import run_script


def main(arguments: list[str] | None = None) -> int:
    """Run the command line and return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="a run directory, which holds manifest.json and checkpoints/")
    command_line.add_trust(parser)
    given = parser.parse_args(arguments)
    try:
        for line in score(given.run, given.trust):
            print(json.dumps(line), flush=True)
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def score(directory: Path, trusted: Sequence[str] = ()) -> Iterator[dict[str, Any]]:
    """The figures of each kept network of a run, by the name of its checkpoint.

    Raises:
        ValueError: if the directory holds no run, or one that names a constructor of a module that is neither this
            package's nor `trusted`, or it has no kept network, or a checkpoint is damaged.
    """
    settings = config.from_run(directory, trusted)
    from sparsity.run.experiment import set_up
    from sparsity.weights.checkpoints import kept_networks, load_kept

    kept = kept_networks(directory)
    setup = set_up(config.build(settings))
    model = setup.new_model()
    for name, path in kept.items():
        model.load_state_dict(load_kept(path, model, directory / provenance.CONFIG)["weights"])
        weights = [p for p in model.parameters() if p.requires_grad]
        num_zeros = sum(int((weight == 0).sum()) for weight in weights)
        yield {
            "checkpoint": name,
            "sparsity": num_zeros / sum(weight.numel() for weight in weights),
            "val": setup.score(model, setup.data.val),
            "test": setup.score(model, setup.data.test),
            "for_selection": False,
        }


if __name__ == "__main__":
    run_script(main)
