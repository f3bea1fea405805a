"""Output sensitivity: each step shrinks every weight, the less the outputs of the network depend on it.

Rule: w -= lambda w max(0, 1 - S) after the optimiser's step, whatever its rate, with S = sum_k a_k |dy_k / dw|, y the
scores of the classes before the softmax, averaged over the batch. Weights below a fixed threshold go. Source:
Tartaglione et al. 2018 (arXiv 1810.11764); the order of mean and magnitude as in the same group's later code. Knobs:
lambda, form, threshold.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from sparsity.hardware import ranks
from sparsity.pruning.method import Method
from sparsity.pruning.penalty import Strength
from sparsity.pruning.scores import insensitivity, magnitude
from sparsity.training.extensions import OwnParameters

FORMS = ("unspecified", "specified", "lower_bound")
MOST_CLASSES = 100  # for each of which a step of the unspecified form makes a backward pass


class Sensitivity(Method):
    """w -= lambda w max(0, 1 - S), of weights alone: biases and norms are not shrunk.

    Where a step accumulates micro-batches, S is that of its last one.

    Args:
        counted: name -> parameter of those that may be pruned.
        strength: lambda.
        form: of S. unspecified: a_k = 1 / C for each of the C classes, C more backward passes. specified: 1 for the
            class that an example has, else 0, one more. lower_bound: |sum_k dy_k / dw| / C, never above the first, one
            more.
        threshold: of |w|, below which a weight goes.

    Raises:
        ValueError: if the form is none of these, or several ranks share a batch.
    """

    def __init__(
        self,
        counted: Mapping[str, Tensor],
        strength: Strength,
        form: str = "lower_bound",
        threshold: float = 1e-3,
    ) -> None:
        if form not in FORMS:
            raise ValueError(f"pruner.method.form={form} is unknown; choose one of {', '.join(FORMS)}.")
        if ranks.here().size > 1:
            raise ValueError(
                f"pruner=sensitivity asks how the outputs of a whole batch depend on a weight, of which each of "
                f"{ranks.here().size} ranks sees a part: train in one process."
            )
        self._form, self._threshold, self._strength = form, threshold, strength
        shrunk = {name: weight for name, weight in counted.items() if weight.dim() > 1}
        self._weights = list(shrunk.values())
        self._sensitivities = [torch.zeros_like(weight).detach() for weight in self._weights]
        self._means = [torch.zeros_like(strength.value) for _ in self._weights]
        named = {f"sensitivity/layer/{name}": mean for name, mean in zip(shrunk, self._means, strict=True)}
        self.recorded = {"penalty/lambda": strength.value, **named}

    def term(self, outputs: Tensor, batch: tuple[Tensor, ...]) -> Tensor:
        """Zero; the sensitivities are measured while the graph of the outputs is there.

        Raises:
            ValueError: if the outputs are no scores of classes, or of too many.
        """
        labels = _labels(outputs, batch)
        if self._form == "unspecified" and outputs.shape[1] > MOST_CLASSES:
            raise ValueError(
                f"pruner.method.form=unspecified makes a backward pass for each of the {outputs.shape[1]} classes at "
                f"each step, and more than {MOST_CLASSES} are not taken for meant: choose specified or lower_bound."
            )
        for sensitivity, found in zip(self._sensitivities, self._measured(outputs.float(), labels), strict=True):
            sensitivity.copy_(found)
        return torch.zeros_like(self._strength.value)

    def own_parameters(self) -> list[OwnParameters]:
        """None."""
        return []

    def after_step(self, parameters: list[Tensor], learning_rate: Tensor) -> None:
        """Shrink the weights as they are after the step."""
        strength = self._strength.advance()
        for weight, sensitivity, mean in zip(self._weights, self._sensitivities, self._means, strict=True):
            mean.copy_(sensitivity.mean())
            factor = 1 - strength * insensitivity(sensitivity)
            weight.mul_(torch.where(learning_rate > 0, factor, 1.0))  # a rate of 0 is the stop after a non-finite loss

    def after_prune(self) -> None:
        """Lambda back at its full strength."""
        self._strength.restart()

    def scores(self, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """|w| over the threshold: what is below 1 goes."""
        return {name: magnitude(weight) / self._threshold for name, weight in weights.items()}

    def state_dict(self) -> dict[str, Any]:
        """Lambda's counter; the sensitivities are of one step."""
        return self._strength.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore lambda's counter."""
        self._strength.load_state_dict(state)

    def _measured(self, outputs: Tensor, labels: Tensor) -> list[Tensor]:
        """S of each weight from the class scores, [batch, classes]."""
        if self._form == "specified":
            return self._sizes(outputs.gather(1, labels.unsqueeze(1)).mean())
        mean = outputs.mean(0)
        first, *others = mean if self._form == "unspecified" else [mean.sum()]
        total = self._sizes(first)
        for score in others:
            torch._foreach_add_(total, self._sizes(score))
        torch._foreach_div_(total, len(mean))
        return total

    def _sizes(self, score: Tensor) -> list[Tensor]:
        """|d score / dw| of each weight."""
        return list(torch._foreach_abs(list(torch.autograd.grad(score, self._weights, retain_graph=True))))


def _labels(outputs: Tensor, batch: tuple[Tensor, ...]) -> Tensor:
    """The classes of a batch of (inputs, labels)."""
    is_classification = isinstance(batch, tuple) and len(batch) == 2 and batch[1].shape == outputs.shape[:1]
    if not is_classification or outputs.dim() != 2:
        raise ValueError(
            "pruner=sensitivity asks for scores of classes, one label an example, which this task has not: choose an "
            "experiment on images, or another pruner."
        )
    return batch[1]
