"""The images of ImageNet's two folder layouts and their classes, listed once and then remembered.

Class numbers are the places of the WNIDs in alphabetical order, as torchvision's ImageFolder gives them and as its
published weights expect them. Images are ordered by (WNID, file name) in both layouts. Names that begin with a dot are
no data. Free of torch.
"""

import hashlib
import logging
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sparsity.data.published.download import DataError, written_whole
from sparsity.files import visible

_SUFFIXES = (".jpeg", ".jpg", ".png")
_FORMAT = 2  # of an index, whose name depends on it: the first format listed names that begin with a dot
_FLAT = re.compile(r"ILSVRC2012_val_[0-9]{8}\.JPEG")
_DEVKIT = "ILSVRC2012_devkit_t12/data"
_TRUTH = "ILSVRC2012_validation_ground_truth.txt"
_log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Listing:
    """Images of a folder.

    Attributes:
        root: the folder.
        files: relative to it, by class and name.
        labels: int64 (N,), in [0, number of classes).
        classes: WNIDs in the order of their numbers.
    """

    root: Path
    files: tuple[str, ...]
    labels: NDArray[np.int64]
    classes: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.files)

    @property
    def digest(self) -> str:
        """A checksum of the names, for the record: the same images in the same order give the same."""
        return hashlib.sha256("\n".join(self.files).encode()).hexdigest()


def list_classes(root: Path, index_folder: Path) -> Listing:
    """The images in `root`/CLASS/, remembered in `index_folder` until a class folder of `root` changes.

    Listing 1.28 million files takes minutes on a network disk, reading the index a second.

    Raises:
        DataError: `root` cannot be read or holds no image, or the index cannot be written.
    """
    try:
        folders = [entry for entry in visible(root.iterdir(), root) if entry.is_dir()]
        stamps = "".join(f"{folder.name}/{folder.stat().st_mtime_ns}\n" for folder in folders)
        key = hashlib.sha256(f"{_FORMAT}\n{root.resolve()}\n{stamps}".encode()).hexdigest()[:16]
        index = index_folder / f"{key}.txt"
        if not index.is_file():
            _write_index(index, _listed(folders))
        files = tuple(index.read_text().splitlines())
    except OSError as error:
        raise DataError(f"{root} cannot be listed ({error.strerror}); check the folder and its rights.") from error
    if not files:
        raise DataError(f"{root} holds no image in folders of its classes ({root}/WNID/*.JPEG): check its place.")
    classes = tuple(folder.name for folder in folders)
    return numbered(root, files, classes)


def numbered(root: Path, files: tuple[str, ...], classes: tuple[str, ...]) -> Listing:
    """CLASS/NAME files below `root`, labelled by the places of their classes in `classes`."""
    number_of = {name: number for number, name in enumerate(classes)}
    labels = np.array([number_of[file.partition("/")[0]] for file in files], dtype=np.int64)
    return Listing(root, files, labels, classes)


def list_flat(root: Path, devkit: Path, classes: tuple[str, ...]) -> Listing:
    """The images `root`/ILSVRC2012_val_*.JPEG of `classes`, with labels from the development kit below `devkit`.

    The kit labels an image by the number in its name, so that some of the images are labelled as all of them are.

    Raises:
        DataError: the kit is not there, or does not know an image.
    """
    truth, meta = _devkit_file(devkit, _TRUTH), _devkit_file(devkit, "meta.mat")
    wnid_of = _wnids(meta)
    wnids = [wnid_of[int(line)] for line in truth.read_text().split()]
    names = _flat_names(root)
    if unknown := [name for name in names if not 1 <= _number(name) <= len(wnids)]:
        raise DataError(f"{root / unknown[0]} is not among the {len(wnids)} images that {truth} labels: remove it.")
    number_of = {wnid: number for number, wnid in enumerate(classes)}
    known = [(number_of[wnid], name) for name in names if (wnid := wnids[_number(name) - 1]) in number_of]
    known.sort()
    labels = np.array([label for label, _ in known], dtype=np.int64)
    return Listing(root, tuple(name for _, name in known), labels, classes)


def is_flat(root: Path) -> bool:
    """Whether the validation images lie in `root` itself."""
    return bool(_flat_names(root))


def _listed(folders: list[Path]) -> list[str]:
    return [
        f"{folder.name}/{name}"
        for folder in folders
        for name in sorted(path.name for path in folder.iterdir() if _is_image(path))
    ]


def _is_image(path: Path) -> bool:
    return path.suffix.lower() in _SUFFIXES and not path.name.startswith(".")


def _write_index(index: Path, files: list[str]) -> None:
    with written_whole(index) as out:
        out.write("\n".join(files).encode())
    _log.info("listed %d images; the index %s makes this quick next time", len(files), index)


def _flat_names(root: Path) -> list[str]:
    return sorted(path.name for path in root.glob("ILSVRC2012_val_*.JPEG") if _FLAT.fullmatch(path.name))


def _number(name: str) -> int:
    """Of a validation image, from 1."""
    return int(name[-13:-5])


def _devkit_file(devkit: Path, name: str) -> Path:
    for path in (devkit / _DEVKIT / name, devkit / name):
        if path.is_file():
            return path
    raise DataError(
        f"{devkit / _DEVKIT / name} is missing, which labels validation images that lie in one folder: unpack "
        f"ILSVRC2012_devkit_t12.tar.gz in {devkit}, or sort the images into folders val/WNID/."
    )


def _wnids(meta: Path) -> dict[int, str]:
    """The kit's numbers, 1 to 1000, of the classes that images have, and their WNIDs."""
    from scipy.io import loadmat  # half a second that only this layout pays

    synsets = loadmat(meta, squeeze_me=True)["synsets"]
    return {int(row["ILSVRC2012_ID"]): str(row["WNID"]) for row in synsets if row["num_children"] == 0}
