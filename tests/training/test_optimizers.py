"""Is the optimiser torch's own, with each setting in its place?"""

import pytest
import torch
from torch import Tensor, nn

from sparsity.settings import OptimizerSettings
from sparsity.training.extensions import OwnParameters
from sparsity.training.optimizers import build_optimizer


def moved(optimizer: torch.optim.Optimizer, parameter: nn.Parameter) -> Tensor:
    """The parameter after three steps with changing gradients."""
    for scale in (1.0, -0.5, 0.25):
        parameter.grad = scale * torch.tensor([1.0, 2.0, -3.0])
        optimizer.step()
    return parameter.detach()


def ours(settings: OptimizerSettings, stop: float = 0.0) -> Tensor:
    parameter = nn.Parameter(torch.tensor([1.0, -1.0, 0.5]))
    rate = torch.tensor(settings.lr, dtype=torch.float64)
    return moved(build_optimizer(settings, [parameter], rate, torch.tensor(stop)), parameter)


def theirs(kind: type[torch.optim.Optimizer], **arguments: object) -> Tensor:
    parameter = nn.Parameter(torch.tensor([1.0, -1.0, 0.5]))
    return moved(kind([parameter], **arguments), parameter)


def test_adam_takes_every_setting() -> None:
    settings = OptimizerSettings("adam", lr=0.1, betas=[0.8, 0.9], eps=0.1, weight_decay=0.3)
    expected = theirs(torch.optim.Adam, lr=0.1, betas=(0.8, 0.9), eps=0.1, weight_decay=0.3, foreach=False)
    torch.testing.assert_close(ours(settings), expected)


def test_sgd_takes_every_setting() -> None:
    settings = OptimizerSettings("sgd", lr=0.1, momentum=0.7, weight_decay=0.3)
    expected = theirs(torch.optim.SGD, lr=0.1, momentum=0.7, weight_decay=0.3, foreach=False)
    torch.testing.assert_close(ours(settings), expected)


@pytest.mark.parametrize("name", ["adam", "sgd"])
def test_parameters_of_extensions_have_a_rate_and_a_decay_of_their_own(name: str) -> None:
    settings = OptimizerSettings(name, lr=0.1, weight_decay=0.3)
    one, other = nn.Parameter(torch.ones(3)), nn.Parameter(torch.ones(3))
    own = [OwnParameters([one]), OwnParameters([other], learning_rate=0.2, weight_decay=0.4)]
    optimizer = build_optimizer(settings, [], torch.tensor(0.1, dtype=torch.float64), torch.tensor(0.0), own)
    groups = [(float(group["lr"]), group["weight_decay"]) for group in optimizer.param_groups]
    assert groups == [(0.1, 0.3), (0.1, 0.0), (0.2, 0.4)]


@pytest.mark.parametrize("name", ["adam", "sgd"])
def test_nothing_moves_while_the_stop_switch_is_on(name: str) -> None:
    assert ours(OptimizerSettings(name, lr=0.1), stop=1.0).tolist() == [1.0, -1.0, 0.5]


@pytest.mark.parametrize("name", ["adam", "sgd"])
def test_the_rate_is_read_from_the_tensor_at_each_step(name: str) -> None:
    parameter, rate = nn.Parameter(torch.ones(3)), torch.tensor(0.1, dtype=torch.float64)
    optimizer = build_optimizer(OptimizerSettings(name, lr=0.1), [parameter], rate, torch.tensor(0.0))
    rate.zero_()
    assert moved(optimizer, parameter).tolist() == [1.0, 1.0, 1.0]


def test_an_unknown_optimiser_is_refused_with_those_there_are() -> None:
    with pytest.raises(ValueError, match=r"optimizer\.name=adagrad is unknown; choose adam or sgd\."):
        ours(OptimizerSettings("adagrad"))
