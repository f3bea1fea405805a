"""Which optimiser? torch's fused Adam and SGD, with the rate and a stop switch as tensors on the device."""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from sparsity.settings import OptimizerSettings


def build_optimizer(
    settings: OptimizerSettings, parameters: Iterable[Tensor], learning_rate: Tensor, stop: Tensor
) -> torch.optim.Optimizer:
    """An optimiser that reads its rate from `learning_rate` and does nothing while `stop` is 1.

    Both are 0-dim tensors, changed in place. `stop` is torch's `found_inf`, which the fused kernels test on the device:
    no value is asked for by the host.

    Raises:
        ValueError: if the optimiser's name is unknown.
    """
    optimizer: Any  # the fused optimisers take `found_inf` as an attribute that torch does not declare
    if settings.name == "adam":
        betas = (settings.betas[0], settings.betas[1])
        decay = settings.weight_decay
        optimizer = torch.optim.Adam(
            parameters,
            lr=learning_rate,
            betas=betas,
            eps=settings.eps,
            weight_decay=decay,
            fused=True,
            capturable=learning_rate.is_cuda,  # torch insists, although the fused kernel counts its steps on the device
        )
    elif settings.name == "sgd":
        optimizer = torch.optim.SGD(
            parameters, lr=learning_rate, momentum=settings.momentum, weight_decay=settings.weight_decay, fused=True
        )
    else:
        raise ValueError(f"optimizer.name={settings.name} is unknown; choose adam or sgd.")
    optimizer.found_inf = stop
    assert isinstance(optimizer, torch.optim.Optimizer)
    return optimizer
