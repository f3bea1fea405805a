"""Is a network refused that cannot take the data, and no other one?"""

from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from sparsity.models.lenet import LeNet5
from sparsity.run.compatibility import check_fit, check_splits
from sparsity.training.tasks import Classification
from tests.tiny_runs import tiny_data, tiny_experiment


@dataclass
class Digits:
    """Images of some shape in ten classes."""

    image_shape: tuple[int, ...] = (1, 28, 28)
    name: str = "digits"
    num_classes: int = 10


class Branching(nn.Module):
    """Looks at a value to choose its way, which a tensor without values does not tell."""

    def __init__(self) -> None:
        super().__init__()
        self.scores = nn.Linear(28 * 28, 10)

    def forward(self, images: Tensor) -> Tensor:
        scores: Tensor = self.scores(images.flatten(1))
        return scores if float(images.sum()) > 0 else -scores


@pytest.mark.parametrize("build_model", [LeNet5, Branching])
def test_a_network_is_tried_without_a_gpu(build_model: type[nn.Module], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.cuda, "get_rng_state", lambda gpu: pytest.fail(f"GPU {gpu} is started"))
    check_fit(build_model, Classification(), Digits(), build_model.__name__)


@pytest.mark.parametrize("build_model", [LeNet5, Branching])
def test_a_network_that_takes_the_images_is_accepted_without_a_draw(build_model: type[nn.Module]) -> None:
    before = torch.get_rng_state()
    check_fit(build_model, Classification(), Digits(), "network")
    assert torch.equal(torch.get_rng_state(), before)


def test_a_network_for_other_images_is_refused_with_both_shapes() -> None:
    with pytest.raises(ValueError, match=r"^LeNet5 cannot be trained on digits, images of 3 x 32 x 32 \(.*channels"):
        check_fit(LeNet5, Classification(), Digits((3, 32, 32)), "LeNet5")


def test_a_network_with_too_few_outputs_is_refused_with_the_number_to_set() -> None:
    with pytest.raises(ValueError, match=r"^LeNet5 tells 5 classes apart, but digits has 10: set model.num_classes=10"):
        check_fit(lambda: LeNet5(5), Classification(), Digits(), "LeNet5")


def test_of_data_that_are_no_images_nothing_is_said() -> None:
    check_fit(LeNet5, Classification(), object(), "LeNet5")


@pytest.mark.parametrize(("part", "use"), [("train", "train on"), ("val", "gate on"), ("test", "test on")])
def test_data_with_an_empty_split_are_refused(part: str, use: str) -> None:
    splits = {"train": [1], "val": [1], "test": [1]} | {part: []}
    with pytest.raises(ValueError, match=f"^digits holds nothing to {use}: its split {part} is empty; add examples"):
        check_splits(SimpleNamespace(name="digits", **splits))


def test_an_experiment_refuses_data_with_an_empty_split_before_it_makes_a_network(tmp_path: Path) -> None:
    data = tiny_data()
    none = replace(data.val, images=data.val.images[:0], labels=data.val.labels[:0])
    changes: dict[str, Any] = {"build_data": lambda: replace(data, val=none), "build_model": pytest.fail}
    experiment = replace(tiny_experiment(tmp_path), **changes)
    with pytest.raises(ValueError, match="tiny holds nothing to gate on"):
        experiment.load(torch.device("cpu"))
