"""Holds our step and the straightforward recipe to compute the same update: only then may their times be compared."""

from dataclasses import replace

import torch
from torch import Tensor

from sparsity.benchmark.straightforward import StraightforwardRecipe, pil_batches
from sparsity.data.images.batches import ImageBatches
from sparsity.data.vision import ImageData
from sparsity.pruning.penalty import Penalty
from sparsity.run.phase import Phase
from sparsity.run.workspace import Workspace

TOLERANCE = 1e-6  # of input pixels (normalised) and of weights, absolute
NUM_STEPS = 5


def check_same_update(work: Workspace) -> float:
    """Make the same steps in our loop and in the recipe; the largest difference of a weight after any of them.

    Same weights, masks, batch and lambda. In float64: the two layouts round differently and Adam divides by the size of
    the gradient, so that in float32 the last bits of a gradient near zero would move a weight by a good part of the
    learning rate.

    Raises:
        ValueError: if that is more than the tolerance, or a pruned weight is not zero.
    """
    ours, recipe = pruned_pair(work, torch.float64)
    ours.trainer.batches = batches = Doubled(shuffled(work))
    largest = 0.0
    for step in range(NUM_STEPS):
        difference = step_both(ours, recipe, *batches.batch(0, step))
        _hold(difference, f"the weights after step {step + 1}")
        largest = max(largest, difference)
    return largest


class Doubled:
    """The same batches with images in float64."""

    is_resident = True

    def __init__(self, batches: ImageBatches) -> None:
        self._batches = batches
        self.steps_per_epoch, self.start_epoch = batches.steps_per_epoch, batches.start_epoch

    def at(self, position: Tensor, step: int = 0) -> tuple[Tensor, Tensor]:
        """The batch at a place of the epoch."""
        images, labels = self._batches.at(position, step)
        return images.double(), labels

    def batch(self, epoch: int, step: int) -> tuple[Tensor, Tensor]:
        """The batch at `step` of `epoch`."""
        images, labels = self._batches.batch(epoch, step)
        return images.double(), labels


def pruned_pair(work: Workspace, dtype: torch.dtype = torch.float32) -> tuple[Phase, StraightforwardRecipe]:
    """Our regularised phase and the recipe, from the same weights and, after one prune, with the same masks."""
    settings = work.settings
    ours = work.phase("regularise", settings.regularise, 0, is_regularised=True)
    ours.model.to(dtype)
    model = work.experiment.build_model().to(work.device, dtype)
    model.load_state_dict(ours.model.state_dict())
    recipe = StraightforwardRecipe(model, settings.regularise.optimizer, settings.pruner.penalty.alpha)
    ours.pruner.prune()
    recipe.mask(ours.pruner.masks.kept)
    return ours, recipe


def regularised(work: Workspace) -> Phase:
    """Our regularised phase after one prune."""
    ours = work.phase("regularise", work.settings.regularise, 0, is_regularised=True)
    ours.pruner.prune()
    return ours


def shuffled(work: Workspace) -> ImageBatches:
    """The training batches of the regularised phase, in the order in which our loop takes them."""
    settings = work.settings
    return image_data(work).training_batches(settings.regularise.batch_size, settings.seed, "regularise")


def image_data(work: Workspace) -> ImageData:
    """The run's data, if the straightforward recipe can load them.

    Raises:
        ValueError: if they are no images that lie in memory.
    """
    if not isinstance(work.data, ImageData):
        raise ValueError(
            f"The straightforward recipe loads images from memory, and {work.data.name} is not of that kind: "
            "time an experiment on images with `step`, and one on texts with `text`."
        )
    return work.data


def check_same_inputs(work: Workspace) -> float:
    """Load the first batch in both ways, without crops; the largest difference of a pixel.

    Raises:
        ValueError: if that is more than the tolerance, or the labels differ.
    """
    data, settings = replace(image_data(work), augment="none"), work.settings  # the two draw their crops in other ways
    batches = data.training_batches(settings.regularise.batch_size, settings.seed, "regularise")
    images, labels = batches.batch(0, 0)
    pil_images, pil_labels = next(iter(pil_batches(data, batches.indices(0), len(labels), num_workers=0)))
    if not torch.equal(pil_labels, labels.cpu()):
        raise ValueError("The two data loaders give different labels: their times cannot be compared.")
    difference = float((pil_images - images.cpu()).abs().max())
    _hold(difference, "the first batch's pixels")
    return difference


def step_both(ours: Phase, recipe: StraightforwardRecipe, images: Tensor, labels: Tensor) -> float:
    """One step of each with the same lambda; the largest difference between their weights.

    `images` and `labels` are the batch that is next in our loop.

    Raises:
        ValueError: if a pruned weight is not exactly zero in both.
    """
    ours.trainer.train_step()
    assert isinstance(ours.pruner.method, Penalty)
    recipe.step(images, labels, float(ours.pruner.method.recorded["penalty/lambda"]))
    kept, theirs, largest = ours.pruner.masks.kept, recipe.weights(), 0.0
    for name, parameter in ours.model.named_parameters():
        weight, pruned = parameter.detach(), ~kept[name]
        if weight[pruned].any() or theirs[name][pruned].any():
            raise ValueError(f"A pruned weight of {name} is not zero, so the two recipes differ: mend the masks.")
        largest = max(largest, float((weight - theirs[name]).abs().max()))
    return largest


def _hold(difference: float, what: str) -> None:
    if not difference <= TOLERANCE:  # NaN is no agreement either
        raise ValueError(
            f"Our step and the straightforward recipe differ by {difference:.1e} in {what}, and {TOLERANCE:.0e} is "
            "allowed: their times cannot be compared until they compute the same."
        )
