"""Send what Weights & Biases does not hold of our runs; needs a login (`wandb login`)."""

import argparse
import sys
from pathlib import Path

from sparsity.files import check_folder, run_script
from sparsity.tracking.sync import send, unsent
from sparsity.tracking.wandb_writer import wandb_mode

RESULTS = Path(__file__).resolve().parents[1] / "results"


def main(arguments: list[str] | None = None) -> int:
    """Run the command line and return the exit status; a run that cannot be sent stops no other."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--results", type=Path, default=RESULTS, help="the results folder (default: the repository's)")
    results = parser.parse_args(arguments).results
    try:
        check_folder(results, "the results folder, by default the repository's")
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    directories = unsent(results)
    if not directories:
        print("Nothing to send: W&B holds every finished or interrupted run that it was to mirror.")
        return 0
    if wandb_mode("online") != "online":
        return 1
    return 1 if [path for path in directories if not _sent(path)] else 0


def _sent(directory: Path) -> bool:
    try:
        print(f"{directory}: {send(directory)}", flush=True)
    except (ValueError, OSError) as error:
        print(f"{directory}: {error}", file=sys.stderr)
        return False
    return True


if __name__ == "__main__":
    run_script(main)
