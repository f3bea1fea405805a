"""torch's fused Adam and SGD, with the rate and a stop switch as tensors on the device."""

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor

from sparsity.settings import OptimizerSettings
from sparsity.training.extensions import OwnParameters


def build_optimizer(
    settings: OptimizerSettings,
    parameters: Iterable[Tensor],
    learning_rate: Tensor,
    stop: Tensor,
    own: Sequence[OwnParameters] = (),
) -> torch.optim.Optimizer:
    """An optimiser that reads its rate from `learning_rate` and does nothing while `stop` is 1.

    Both are 0-dim tensors, changed in place. `stop` is torch's `found_inf`, which the fused kernels test on the device:
    no value is asked for by the host. `own` are parameters of extensions, each a group with a rate of its own or the
    network's.

    Raises:
        ValueError: if the optimiser's name is unknown.
    """
    groups: Any = [{"params": list(parameters)}, *(_group(of, learning_rate) for of in own)]
    optimizer: Any  # the fused optimisers take `found_inf` as an attribute that torch does not declare
    if settings.name == "adam":
        betas = (settings.betas[0], settings.betas[1])
        decay = settings.weight_decay
        optimizer = torch.optim.Adam(
            groups,
            lr=learning_rate,
            betas=betas,
            eps=settings.eps,
            weight_decay=decay,
            fused=True,
            capturable=learning_rate.is_cuda,  # torch insists, although the fused kernel counts its steps on the device
        )
    elif settings.name == "sgd":
        optimizer = torch.optim.SGD(
            groups, lr=learning_rate, momentum=settings.momentum, weight_decay=settings.weight_decay, fused=True
        )
    else:
        raise ValueError(f"optimizer.name={settings.name} is unknown; choose adam or sgd.")
    optimizer.found_inf = stop
    assert isinstance(optimizer, torch.optim.Optimizer)
    return optimizer


def _group(own: OwnParameters, learning_rate: Tensor) -> dict[str, Any]:
    rate = learning_rate if own.learning_rate is None else torch.full_like(learning_rate, own.learning_rate)
    return {"params": own.parameters, "lr": rate, "weight_decay": own.weight_decay}
