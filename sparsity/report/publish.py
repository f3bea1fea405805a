"""The results that are kept with the code: small records of finished full-size runs, copied from `results/runs`.

So are their networks, if they are small; a larger one stays in its run's directory.
"""

from pathlib import Path

from sparsity import provenance
from sparsity.files import replaced
from sparsity.records import CARD, NETWORKS, RECORD_FILES, Network
from sparsity.report.reading import Run, find_runs, load_run, load_summary

# Runs of these scales show that something works, they are no results.
UNPUBLISHED_SCALES = ("smoke", "rehearsal")
MOST_BYTES = 6_000_000  # of a network that is kept with the code


def publish(results: Path) -> list[Path]:
    """Copy the records of finished runs from `results/runs` to the same path under `results`.

    Files that are already equal are left alone. The summary is written last: it never stands without the others, nor
    beside networks of a run that it has replaced.

    Returns:
        The directories in which a file changed.

    Raises:
        ValueError: one sentence with the file of a run that is damaged.
    """
    source = results / "runs"
    changed = []
    for directory in find_runs(source):
        target = results / directory.relative_to(source)
        if load_summary(directory).scale in UNPUBLISHED_SCALES:
            continue
        run = load_run(directory)  # a damaged run must not get among the published ones
        if _copy(run, target):
            changed.append(target)
    return changed


def committed(directory: Path, results: Path) -> Path | None:
    """Where a run's record stands with the code and lists its networks; None where it does not.

    Args:
        directory: of the run, below any `runs`.
        results: the folder of what is committed.
    """
    published = results.joinpath(*directory.parts[-3:])
    return published if (published / "summary.json").is_file() and (published / CARD).is_file() else None


def state_of(directory: Path, results: Path) -> str:
    """How far a run is: `committed`, or what `provenance.state_of` says of its directory."""
    return "committed" if committed(directory, results) else provenance.state_of(directory)[0]


def write_atomically(path: Path, content: bytes) -> None:
    """Replace a file by `content` in one step: a reader sees the old or the new file, whole."""
    with replaced(path) as file:
        file.write(content)


def is_published(network: Network) -> bool:
    """Whether a network is small enough to be kept with the code."""
    return network.bytes <= MOST_BYTES


def _copy(run: Run, target: Path) -> bool:
    handed_on = [network.file for network in run.networks if is_published(network)]
    names = (*handed_on, *([CARD] if run.networks else []), *RECORD_FILES)
    contents = {name: (run.directory / name).read_bytes() for name in names}
    changed = {name: content for name, content in contents.items() if not _holds(target / name, content)}
    if "summary.json" in changed:
        for old in {target / CARD, *(target / NETWORKS).glob("*")} - {target / name for name in contents}:
            old.unlink(missing_ok=True)
    for name, content in changed.items():
        write_atomically(target / name, content)
    return bool(changed)


def _holds(path: Path, content: bytes) -> bool:
    return path.is_file() and path.read_bytes() == content
