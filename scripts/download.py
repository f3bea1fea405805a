"""Fetch and verify published data: `python scripts/download.py all --data-dir data`. Needs no torch."""

import argparse
import sys

from sparsity.data.published.catalogue import FILES, fetch_dataset
from sparsity.data.published.download import DataError, is_published
from sparsity.files import run_script


def main(arguments: list[str] | None = None) -> int:
    """Fetch the data sets named on the command line; the exit status. A failure is one sentence on stderr."""
    parser = argparse.ArgumentParser(description="Fetch published data sets and verify their checksums.")
    parser.add_argument("datasets", nargs="+", choices=[*FILES, "all"], help="data sets to fetch")
    parser.add_argument("--data-dir", default="data", help="folder to keep them in (default: %(default)s)")
    options = parser.parse_args(arguments)
    try:
        for dataset in FILES if "all" in options.datasets else options.datasets:
            _fetch_dataset(dataset, options.data_dir)
    except DataError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def _fetch_dataset(dataset: str, data_dir: str) -> None:
    for role, path in fetch_dataset(dataset, data_dir):
        known = "and verified" if is_published(FILES[dataset][role]) else "(nobody publishes its checksum)"
        print(f"{dataset}: {path} is there {known}", flush=True)


if __name__ == "__main__":
    run_script(main)
