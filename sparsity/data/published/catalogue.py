"""The files of each published data set: where they stand, and their checksums.

Addresses and md5s of the published files are torchvision's (torchvision.datasets.MNIST, FashionMNIST and CIFAR10,
0.29). Where it has plain http, the address is another over https, held to the same md5: Fashion-MNIST's own repository,
and TensorFlow Datasets' copy of MNIST. Sizes and the md5s of the unzipped bytes were taken from files that matched
those. The sha256 of Taskmaster-1's dialogues is the one that ParlAI holds them to. Nobody publishes checksums of its
lists of ids and of Stanford's WMT14: their first copy that could be read is recorded. The two `mini` sets and the part
of Taskmaster-1 are stand-ins that only a local mirror provides; they are known by their checksums: nothing else is ever
called by their names.
"""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from sparsity.data.published.archives import fetch_members
from sparsity.data.published.download import RemoteFile, fetch_readable

_IDX_NAMES = {
    "train_images": "train-images-idx3-ubyte.gz",
    "train_labels": "train-labels-idx1-ubyte.gz",
    "test_images": "t10k-images-idx3-ubyte.gz",
    "test_labels": "t10k-labels-idx1-ubyte.gz",
}


def _idx_files(folder: str, urls: tuple[str, ...], marks: dict[str, tuple[str, str, int]]) -> dict[str, RemoteFile]:
    """Files by role, from the folder's mirrors and each role's (md5, md5 unzipped, size in bytes)."""
    return {
        role: RemoteFile(f"{folder}/{name}", tuple(f"{url}/{name}" for url in urls), *marks[role])
        for role, name in _IDX_NAMES.items()
    }


_STANFORD_URL = "https://nlp.stanford.edu/projects/nmt/data/wmt14.en-de"
_STANFORD_PARTS = ("train", "newstest2012", "newstest2013", "newstest2014")
_TASKMASTER_URL = "https://raw.githubusercontent.com/google-research-datasets/Taskmaster/master/TM-1-2019"
_TASKMASTER_NAMES = {
    "dialogues": "self-dialogs.json",
    "train": "train-dev-test/train.csv",
    "dev": "train-dev-test/dev.csv",
    "test": "train-dev-test/test.csv",
}


def _stanford_files() -> dict[str, RemoteFile]:
    """Files by part and language, such as `train.en`."""
    names = [f"{part}.{language}" for part in _STANFORD_PARTS for language in ("en", "de")]
    return {name: RemoteFile(f"wmt14.en-de/{name}", (f"{_STANFORD_URL}/{name}",), md5=None) for name in names}


def _taskmaster_files() -> dict[str, RemoteFile]:
    files = {
        role: RemoteFile(f"taskmaster1/{name.rpartition('/')[2]}", (f"{_TASKMASTER_URL}/{name}",))
        for role, name in _TASKMASTER_NAMES.items()
    }
    sha256 = "1e590ed0ccee279e40c2fb9e083d3b9417477c6bfe35ce5b2277167698dd858d"
    return files | {"dialogues": replace(files["dialogues"], size_bytes=65_748_638, sha256=sha256)}


FILES: dict[str, dict[str, RemoteFile]] = {
    "mnist": _idx_files(
        "mnist",
        ("https://ossci-datasets.s3.amazonaws.com/mnist", "https://storage.googleapis.com/cvdf-datasets/mnist"),
        {
            "train_images": ("f68b3c2dcbeaaa9fbdd348bbdeb94873", "6bbc9ace898e44ae57da46a324031adb", 9_912_422),
            "train_labels": ("d53e105ee54ea40749a09fcbcd1e9432", "a25bea736e30d166cdddb491f175f624", 28_881),
            "test_images": ("9fb629c4189551a2d022fa330f9573f3", "2646ac647ad5339dbf082846283269ea", 1_648_877),
            "test_labels": ("ec29112dd5afa0611ce80d1b7f02629c", "27ae3e4e09519cfbb04c329615203637", 4_542),
        },
    ),
    "fashion_mnist": _idx_files(
        "fashion-mnist",
        ("https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion",),
        {
            "train_images": ("8d4fb7e6c68d591d4c3dfef9ec88bf0d", "f4a8712d7a061bf5bd6d2ca38dc4d50a", 26_421_880),
            "train_labels": ("25c81989df183df01b3e8a0aad5dffbe", "9018921c3c673c538a1fc5bad174d6f9", 29_515),
            "test_images": ("bef4ecab320f06d8554ea6380940ec79", "8181f5470baa50b63fa0f6fddb340f0a", 4_422_102),
            "test_labels": ("bb300cfdad3c16e7a12a480ee83cd310", "15d484375f8d13e6eb1aabb0c3f46965", 5_148),
        },
    ),
    "cifar10": {
        name: RemoteFile(f"cifar-10-batches-py/{name}", (), md5)  # of its own it stands nowhere but in ARCHIVES
        for name, md5 in {
            "data_batch_1": "c99cafc152244af753f735de768cd75f",
            "data_batch_2": "d4bba439e000b95fd0a9bffe97cbabec",
            "data_batch_3": "54ebc095f3ab1f0389bbae665268c751",
            "data_batch_4": "634d18415352ddfa80567beed471001a",
            "data_batch_5": "482c414d41f54cd18b22e5b47cb7c3cb",
            "test_batch": "40351d587109b95175f43aff81a1287e",
        }.items()
    },
    "wmt14": _stanford_files(),
    "taskmaster1": _taskmaster_files(),
}

STAND_INS: dict[str, dict[str, RemoteFile]] = {
    "wmt14-mini": {
        role: RemoteFile(f"wmt14-mini/{role}.gz", (), *marks)
        for role, marks in {
            "train.en": ("1fe3ae6d0647bcc24aee57422cd6a049", "92aa977cdb74fe3245dc89831ebb13e4", 3_153_178),
            "train.de": ("7ad1b729028ad7d22b8c2524b3a198e0", "54b3026426f127644b14767290a1cec2", 3_576_168),
            "newstest2013.en": ("9af5898736f6ee8d294cd9ba2d43e0c8", "23be23d7b9bd5ad1f2ebd076484332c9", 129_339),
            "newstest2013.de": ("f125c268eab0264994db602d16096a64", "872891e01855b43f2a87155e0c1d2076", 148_065),
            "newstest2014.en": ("56e30b03a80b29f90fe433af5287976a", "dabf51a9c02b2235632f3cee75c72d49", 140_878),
            "newstest2014.de": ("03fa0f0654f03626834d195d184041dc", "f6c3818b477e4a25cad68b61cc883c17", 156_321),
        }.items()
    },
    "taskmaster-mini": {
        "dialogues": RemoteFile(
            "taskmaster-mini/self-dialogs.json.gz",
            (),
            "a9889394954fd72b9e85e76767dc8fe6",
            "815b628bc1185c858f8eaaf0b9589710",
            290_459,
        ),
        "train": RemoteFile("taskmaster-mini/train.csv", (), "5602c4095a190e515d4c62ae4ea835fb"),
        "dev": RemoteFile("taskmaster-mini/dev.csv", (), "a961ef97eb2d924ae97fb1cd2634a779"),
        "test": RemoteFile("taskmaster-mini/test.csv", (), "1d2062ca365113607f401d9494d7e293"),
    },
    "taskmaster1-part": {
        role: RemoteFile(f"taskmaster1-part/{name}", (), md5)
        for role, name, md5 in (
            ("dialogues", "self-dialogs.json", "c7dc99fe7334e8f6e06bad7645b55781"),
            ("train", "train.csv", "937a3a4c89758805fa91956e1ce09df5"),
            ("dev", "dev.csv", "e04cf4084df745c9ceccbb9ae6aef808"),
            ("test", "test.csv", "5eeea069ab66338780741bafe828b0d4"),
        )
    },
}

# data sets whose files are published together
ARCHIVES: dict[str, RemoteFile] = {
    "cifar10": RemoteFile(
        "cifar-10-python.tar.gz",
        ("https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz",),
        "c58f30108f718f92721af3b95e74349a",
        size_bytes=170_498_071,
    ),
}


def fetch_dataset(dataset: str, data_dir: str | Path) -> Iterator[tuple[str, Path]]:
    """(role, place) of each file of `dataset`, ready to be read: fetched where missing, unzipped, verified.

    Raises:
        DataError: a file could not be had, or the disk refused.
    """
    files = FILES[dataset]
    if dataset in ARCHIVES:
        yield from zip(files, fetch_members(files.values(), ARCHIVES[dataset], data_dir), strict=True)
    else:
        for role, file in files.items():
            yield role, fetch_readable(file, data_dir)
