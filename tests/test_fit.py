"""Is a network refused that cannot take the data, and no other one?"""

from dataclasses import dataclass

import pytest
import torch
from torch import Tensor, nn

from sparsity.fit import check_fit
from sparsity.models.lenet import LeNet5
from sparsity.training.tasks import Classification


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
