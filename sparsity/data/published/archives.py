"""Files out of a published .tar.gz, each verified by a checksum of its own and written only where none stands."""

import shutil
import tarfile
from collections.abc import Iterable
from pathlib import Path

from sparsity.data.published.download import RemoteFile, UnavailableError, fetch, written_whole


def fetch_members(members: Iterable[RemoteFile], archive: RemoteFile, data_dir: str | Path) -> list[Path]:
    """The place of each of `members` below `data_dir`, whole and verified, in their order.

    They are taken where they stand, below `data_dir` or the mirror folder; only for what is missing there `archive` is
    fetched and read. A member's path below `data_dir` is its name in the archive.

    Raises:
        DataError: as `fetch`, of the archive.
    """
    members = list(members)
    missing = [member for member in members if not _stands(member, data_dir)]
    if missing:
        _extract(fetch(archive, data_dir), {member.path for member in missing}, Path(data_dir))
    for member in missing:
        fetch(member, data_dir)  # verifies it
    return [Path(data_dir) / member.path for member in members]


def _stands(member: RemoteFile, data_dir: str | Path) -> bool:
    try:
        fetch(member, data_dir)
    except UnavailableError:
        return False
    return True


def _extract(archive: Path, names: set[str], folder: Path) -> None:
    """Write the members called `names` below `folder`, in one pass and nothing beside them."""
    with tarfile.open(archive, "r:gz") as tar:
        for member in tar:
            if member.name in names and (stream := tar.extractfile(member)) is not None:
                with stream, written_whole(folder / member.name) as out:
                    shutil.copyfileobj(stream, out)
