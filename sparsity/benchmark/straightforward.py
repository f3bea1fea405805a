"""A straightforward research recipe, eq. 5 without any of our care for speed, as a yardstick.

Per-image PIL transforms in a DataLoader, contiguous layout, for-loop optimiser, two backward passes, a penalty one
tensor at a time, and torch's own pruning hooks.
"""

from collections.abc import Iterable
from typing import Any

import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn
from torch.nn.utils import prune
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms

from sparsity.data.images.augment import PADDING
from sparsity.data.vision import ImageData
from sparsity.settings import OptimizerSettings

PREFETCH_FACTOR = 2  # batches that each worker prepares ahead; torch's default


class PilImages(Dataset[tuple[Tensor, int]]):
    """The training images as a torchvision data set gives them: each becomes a PIL image, then a normalised tensor."""

    def __init__(self, data: ImageData) -> None:
        self._images = data.train.images.cpu().permute(0, 2, 3, 1).squeeze(-1).numpy()
        self._labels = data.train.labels.cpu().numpy()
        crops = [transforms.RandomCrop(data.train.images.shape[2:], PADDING), transforms.RandomHorizontalFlip()]
        normalised = [transforms.ToTensor(), transforms.Normalize(data.mean, data.std)]
        self._transform = transforms.Compose([*(crops if data.augment == "crop_flip" else []), *normalised])

    def __len__(self) -> int:
        return len(self._labels)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        """One image, float32 (C, H, W), and its label."""
        return self._transform(Image.fromarray(self._images[index])), int(self._labels[index])


def pil_batches(data: ImageData, order: Tensor, batch_size: int, num_workers: int) -> Iterable[tuple[Tensor, Tensor]]:
    """Training batches on the CPU, in the order of the indices in `order`; whole batches only."""
    return DataLoader(
        PilImages(data),
        batch_size,
        sampler=order.tolist(),
        drop_last=True,
        num_workers=num_workers,
        prefetch_factor=PREFETCH_FACTOR if num_workers else None,
        persistent_workers=num_workers > 0,
    )


class StraightforwardRecipe:
    """Adam or SGD on the loss plus lambda sum I w^2, with I = exp(-|g| / alpha) held constant.

    Args:
        model: contiguous, on the device; trained in place.
        optimizer: which, and its numbers.
        alpha: scale of the gradient inside the irrelevance.
    """

    def __init__(self, model: nn.Module, optimizer: OptimizerSettings, alpha: float) -> None:
        self._model, self._alpha = model, alpha
        self._parameters = list(model.parameters())  # the hooks will rename them; the tensors stay
        self._optimizer = _for_loop_optimizer(optimizer, self._parameters)

    def mask(self, kept: dict[str, Tensor]) -> None:
        """Prune, by torch's hooks, what `kept` (parameter name -> True where kept) does not hold."""
        for name, keep in kept.items():
            module, _, parameter = name.rpartition(".")
            prune.custom_from_mask(self._model.get_submodule(module), parameter, keep)

    def step(self, images: Tensor, labels: Tensor, strength: float) -> None:
        """One update at lambda = `strength`: a backward pass for g, another one of the regularised loss."""
        loss = F.cross_entropy(self._model(images), labels)
        self._optimizer.zero_grad()
        loss.backward(retain_graph=True)
        penalty = torch.zeros((), device=images.device)
        for parameter in self._parameters:
            assert parameter.grad is not None
            irrelevance = torch.exp(-parameter.grad.abs() / self._alpha)
            penalty = penalty + (irrelevance * parameter**2).sum()
        self._optimizer.zero_grad()
        (loss + strength * penalty).backward()
        self._optimizer.step()

    @torch.no_grad()
    def weights(self) -> dict[str, Tensor]:
        """Name -> the weights that the next forward pass will use."""
        masks = dict(self._model.named_buffers())
        originals = {name.removesuffix("_orig"): value for name, value in self._model.named_parameters()}
        return {name: value * masks[f"{name}_mask"] for name, value in originals.items()}


def _for_loop_optimizer(settings: OptimizerSettings, parameters: list[nn.Parameter]) -> torch.optim.Optimizer:
    """Torch's own, one tensor at a time."""
    numbers: dict[str, Any] = {"lr": settings.lr, "weight_decay": settings.weight_decay}
    if settings.name == "adam":
        betas = (settings.betas[0], settings.betas[1])
        return torch.optim.Adam(parameters, betas=betas, eps=settings.eps, foreach=False, fused=False, **numbers)
    return torch.optim.SGD(parameters, momentum=settings.momentum, foreach=False, fused=False, **numbers)
