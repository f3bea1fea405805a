"""EDropout, a reading of its text: a population of on/off states of units evolves beside training, the best one masks.

A state has a bit for each map of each convolution and for each input of the last linear layer. At each batch every
member meets a mutant of three others, crossed with itself, and the one with the lower energy stays: E = -mean_b [logit
of the target - largest other logit] of the network under that state. The best of all masks the network of the next
step (its text: of the same one); units that are off keep their weights and may come back. Source: Salehinejad & Valaee
2021 (arXiv 2006.04270); no code of theirs is public. Knobs: below.

A step has two forward passes more for each member, by the rule itself: it is meant for small networks.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from sparsity.hardware import ranks
from sparsity.pruning.evolution import evolve
from sparsity.pruning.layers import weighted_layers
from sparsity.pruning.masks import Masks
from sparsity.pruning.method import Method
from sparsity.training.extensions import OwnParameters


class Edropout(Method):
    """Turns units on and off.

    Args:
        model: classifies images.
        counted: the parameters that may go.
        masks: may return.
        seed: of the first population.
        population_size: states, at least 4.
        mutation: F, in [0, 1]: the share of a mutant's bits that are plainly another member's.
        crossover: probability that a bit is the mutant's and not the member's own.
        initial_share: of the units that are on in the first population.

    Raises:
        ValueError: if the network has no convolution, or several ranks share a batch.
    """

    def __init__(
        self,
        model: nn.Module,
        counted: Mapping[str, Tensor],
        masks: Masks,
        seed: int,
        population_size: int = 8,
        mutation: float = 0.9,
        crossover: float = 0.9,
        initial_share: float = 0.5,
    ) -> None:
        if ranks.here().size > 1:
            raise ValueError(
                "pruner=edropout compares states by a batch, of which each rank sees a part: train in one process."
            )
        self._model, self._masks, self._weights = model, masks, dict(counted)
        self._mutation, self._crossover = mutation, crossover
        self._units, num_units = _units(model, counted)
        masks.let_return()
        device, generator = next(model.parameters()).device, torch.Generator().manual_seed(seed)
        drawn = torch.rand(population_size, num_units, generator=generator) < initial_share
        self.population = drawn.to(device)
        self.best = torch.ones(num_units, dtype=torch.bool, device=device)
        self._energy, self._share = torch.zeros((), device=device), torch.ones((), device=device)
        self.recorded = {"edropout/energy": self._energy, "edropout/units_on": self._share}

    def effective(self, name: str, weight: Tensor, is_training: bool) -> Tensor:
        """The weight where its unit is on, else 0."""
        return weight * self._mask(name, self.best, weight) if name in self._units else weight

    @torch.no_grad()
    def term(self, outputs: Tensor, batch: tuple[Tensor, ...]) -> Tensor:
        """0; the population makes a generation on the batch, whose best state masks from the next step on."""
        inputs, labels = batch

        def energies(states: Tensor) -> Tensor:
            return torch.stack([_energy(self._outputs(state, inputs), labels) for state in states.unbind()])

        population, found = evolve(self.population, energies, self._mutation, self._crossover)
        self.population.copy_(population)
        self.best.copy_(population.index_select(0, found.argmin().view(1)).squeeze(0))
        self._energy.copy_(found.min())
        self._share.copy_(self.best.float().mean())
        return torch.zeros_like(self._energy)

    def own_parameters(self) -> list[OwnParameters]:
        """None: bits are not trained."""
        return []

    def kept(self) -> dict[str, Tensor]:
        """All weights of units that are on."""
        weights = {name: self._weights[name] for name in self._units}
        return {name: self._mask(name, self.best, w).expand_as(w) != 0 for name, w in weights.items()}

    def state_dict(self) -> dict[str, Any]:
        """The population and the best of it."""
        return {"population": self.population.clone(), "best": self.best.clone()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore them."""
        self.population.copy_(state["population"])
        self.best.copy_(state["best"])

    def _mask(self, name: str, state: Tensor, weight: Tensor) -> Tensor:
        """The bits of a parameter's units along their dimension, 0 or 1 in its type."""
        bits, dim = self._units[name]
        shape = [1] * weight.dim()
        shape[dim] = -1
        return state[bits].to(weight.dtype).view(shape)

    def _outputs(self, state: Tensor, inputs: Tensor) -> Tensor:
        """The network's outputs under a state; running statistics are copies, so that they do not notice."""
        masked = {name: self._weights[name] * self._mask(name, state, self._weights[name]) for name in self._units}
        buffers = {name: buffer.clone() for name, buffer in self._model.named_buffers()}
        outputs: Tensor = torch.func.functional_call(self._model, masked | buffers, (inputs,))
        return outputs


def _energy(logits: Tensor, labels: Tensor) -> Tensor:
    """-mean [logit of the target - largest other logit] of logits [B, C] and labels [B]."""
    places = labels.unsqueeze(1)
    of_target = logits.gather(1, places).squeeze(1)
    return (logits.scatter(1, places, -torch.inf).amax(1) - of_target).float().mean()


def _units(model: nn.Module, counted: Mapping[str, Tensor]) -> tuple[dict[str, tuple[slice, int]], int]:
    """Parameter -> the places of its units in a state, and their dimension in it; and how many units there are."""
    layers = weighted_layers(model)
    last = next((name for name, layer in reversed(layers.items()) if isinstance(layer, nn.Linear)), None)
    found: dict[str, tuple[slice, int]] = {}
    count = 0
    for name, layer in layers.items():
        if isinstance(layer, nn.Conv2d):
            bits = slice(count, count + layer.out_channels)
            found |= {f"{name}.{kind}": (bits, 0) for kind in ("weight", "bias")}
        elif name == last:
            bits = slice(count, count + layer.in_features)
            found[f"{name}.weight"] = bits, 1
        else:
            continue
        count = bits.stop
    if not any(isinstance(layer, nn.Conv2d) for layer in layers.values()):
        raise ValueError("pruner=edropout turns maps of convolutions on and off, and this network has no convolution.")
    return {name: of for name, of in found.items() if name in counted}, count
