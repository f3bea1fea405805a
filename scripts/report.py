"""Publish finished runs and write the comparison page with its figures, or print finished runs as a table."""

import argparse
import sys
from pathlib import Path

from sparsity.files import check_folder, run_script, visible
from sparsity.records import NETWORKS
from sparsity.report.precisions import FOLDER as PRECISIONS
from sparsity.report.publish import publish
from sparsity.report.reading import find_runs
from sparsity.report.sweep import render_sweep
from sparsity.report.terminal import render_runs

RESULTS = Path(__file__).resolve().parents[1] / "results"


def main() -> int:
    """Run the command line and return the exit status; a damaged file is one sentence and 1."""
    arguments = parse_arguments()
    try:
        check_folder(arguments.results, "the results folder, by default the repository's")
        if arguments.sweep:
            print(render_sweep(arguments.results, arguments.sweep))
        elif arguments.runs:
            print(render_runs(find_runs(arguments.results / "runs"), arguments.scale))
        else:
            report(arguments.results)
    except ValueError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def parse_arguments() -> argparse.Namespace:
    """Read the command line; `--scale` without `--runs` is an error."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--runs", action="store_true", help="print the finished runs under results/runs and write nothing"
    )
    parser.add_argument("--sweep", metavar="NAME", help="print the runs of one sweep side by side and write nothing")
    parser.add_argument("--scale", choices=("paper", "rehearsal", "smoke"), help="with --runs: only this scale")
    parser.add_argument("--results", type=Path, default=RESULTS, help="the results folder (default: the repository's)")
    arguments = parser.parse_args()
    if arguments.scale and not arguments.runs:
        parser.error("--scale chooses among finished runs; add --runs.")
    return arguments


def report(results: Path) -> None:
    """Copy new records out of results/runs, then write the page from all published ones.

    Raises:
        ValueError: if the folder holds nothing to report, or a damaged file.
    """
    from sparsity.report.page import write_page  # draws: the tables of a terminal need not wait for matplotlib

    if not any(visible((results / "paper").glob("*.yaml"), results)):
        raise ValueError(f"{results} holds no paper/*.yaml to compare with; name the results folder of the repository.")
    if not find_runs(results) and not find_runs(results / "runs"):
        raise ValueError(f"{results} holds no finished run to report; make one first, e.g. with scripts/train.py.")
    for directory in [*publish(results), *publish(results / PRECISIONS)]:
        print(f"published {directory}")
    written = write_page(results)
    pages = [path for path in written if path.parent.name != NETWORKS]
    for page in pages:
        print(f"wrote {page}")
    print(f"wrote {len(written) - len(pages)} model cards, each beside the networks of its run")


if __name__ == "__main__":
    run_script(main)
