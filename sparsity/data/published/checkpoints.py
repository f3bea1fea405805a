"""Trained networks that others published, and the data that they have seen."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sparsity.data.published.download import RemoteFile


@dataclass(frozen=True)
class PublishedCheckpoint:
    """A trained network that others give away.

    Attributes:
        file: where it is had.
        saw: identities of the data it was trained on.
        chosen_on: identities of the data by which it was chosen among the states of its training: a metric on any part
            of them is flattered a little, whoever measures it.
        metric: what its publisher says it reaches on the whole test set, in percent.
        source, licence: of the weights.
        dataset: keys of `dataset` that must be as in its training, with their values.
    """

    file: RemoteFile
    saw: tuple[str, ...]
    metric: float
    source: str
    licence: str
    dataset: Mapping[str, str] = field(default_factory=dict)
    chosen_on: tuple[str, ...] = ()


# by network and data set
PUBLISHED: dict[tuple[str, str], PublishedCheckpoint] = {
    ("resnet32", "cifar10"): PublishedCheckpoint(
        RemoteFile(
            "checkpoints/resnet32-d509ac18.th",
            ("https://github.com/akamaster/pytorch_resnet_cifar10/raw/master/pretrained_models/resnet32-d509ac18.th",),
            sha256="d509ac1820d7f25398913559d7e81a13229b1e7adc5648e3bfa5e22dc137f850",
            size_bytes=1_890_043,
        ),
        saw=("cifar10/train",),
        # Deviation 16: its script validates on the test set at each epoch and keeps the best, as its author concedes in
        # issue 4 of the repository.
        chosen_on=("cifar10/test",),
        metric=92.63,
        source="https://github.com/akamaster/pytorch_resnet_cifar10",
        licence="BSD-2-Clause",
        dataset={"normalise": "imagenet"},
    ),
    ("vgg16", "imagenet"): PublishedCheckpoint(
        RemoteFile(
            "checkpoints/vgg16-397923af.pth",
            ("https://download.pytorch.org/models/vgg16-397923af.pth",),
            sha256="397923af",  # all that torchvision itself checks
        ),
        saw=("imagenet/train",),
        metric=71.592,
        source="torchvision.models.VGG16_Weights.IMAGENET1K_V1",
        licence="BSD-3-Clause",
    ),
}


def published_for(model: str, dataset: Mapping[str, Any], dataset_name: str) -> PublishedCheckpoint:
    """The published checkpoint of a network for a data set, whose settings must be those of its training.

    Raises:
        ValueError: if none is known, or a setting of the data set is another.
    """
    checkpoint = PUBLISHED.get((model, dataset_name))
    if checkpoint is None:
        raise ValueError(
            f"No published checkpoint is known for {model} on {dataset_name}; "
            "use baseline=train, baseline=file or baseline=none."
        )
    for key, value in checkpoint.dataset.items():
        if dataset.get(key) != value:
            raise ValueError(
                f"{Path(checkpoint.file.path).name} was trained with dataset.{key}={value}, but here it is "
                f"{dataset.get(key)}: set dataset.{key}={value}."
            )
    return checkpoint


def recognised(sha256: str) -> PublishedCheckpoint | None:
    """The published checkpoint of which a file of this content is a copy, under whatever name."""
    known = (checkpoint for checkpoint in PUBLISHED.values() if checkpoint.file.sha256)
    return next((checkpoint for checkpoint in known if sha256.startswith(str(checkpoint.file.sha256))), None)
