"""L0: every group of weights, or every weight, has a gate that is learned; the penalty is how many are open.

Gate, with u ~ U(0, 1) drawn at each step: s = sigmoid((logit u + log alpha) / beta), z = s (zeta - gamma) + gamma held
to [0, 1], with beta = 2/3, gamma = -0.1, zeta = 1.1; an evaluation has s = sigmoid(log alpha). Effective weight: z w.
Term: 1/N sum_g P(z_g != 0) sum_{w in g} (lambda + decay w^2 / 2), where P(z != 0) is
sigmoid(log alpha - beta log(-gamma / zeta)). Groups: the input neurons of linear layers, the maps of convolutions with
their biases. Source: Louizos et al. 2018 (arXiv 1712.01312), whose code has these ranges; a gate per weight is Gale et
al.'s (2019, arXiv 1902.09574).

Takes part: linear layers and convolutions. Embeddings, heads tied to them, norms and other biases stay; the total has
them all. What reads the output of a map or neuron that is off is counted as kept, where the paper cuts it away.
"""

import math
from typing import Any

import torch
from torch import Tensor, nn

from sparsity.pruning.layers import weighted_layers
from sparsity.pruning.masks import Masks
from sparsity.pruning.method import Method, Steps
from sparsity.pruning.patterns import by_name
from sparsity.training.extensions import OwnParameters

BETA, GAMMA, ZETA = 2 / 3, -0.1, 1.1
SMALLEST_U = 1e-6
LOG_ALPHAS = math.log(1e-2), math.log(1e2)
INITIAL_SPREAD = 0.01
GRANULARITIES = ("group", "weight")


def drawn(log_alpha: Tensor) -> Tensor:
    """Gates z in [0, 1] as a training step draws them."""
    uniform = torch.rand_like(log_alpha)
    return _stretched(torch.sigmoid((torch.logit(uniform, eps=SMALLEST_U) + log_alpha) / BETA))


def settled(log_alpha: Tensor) -> Tensor:
    """Gates z in [0, 1] as an evaluation has them."""
    return _stretched(torch.sigmoid(log_alpha))


def probability_open(log_alpha: Tensor) -> Tensor:
    """P(z != 0) of gates that are drawn."""
    return torch.sigmoid(log_alpha - BETA * math.log(-GAMMA / ZETA))


def _stretched(s: Tensor) -> Tensor:
    return (s * (ZETA - GAMMA) + GAMMA).clamp(0.0, 1.0)


class LayerGates:
    """The gates of one layer.

    Args:
        name: of the layer.
        layer: a linear layer or a convolution.
        is_grouped: whether a gate is on all weights of an input neuron or of a map, and on the map's bias.
        generator: of log alpha's first values.
        logit: their mean.
    """

    def __init__(
        self, name: str, layer: nn.Linear | nn.Conv2d, is_grouped: bool, generator: torch.Generator, logit: float
    ) -> None:
        weight, has_maps = layer.weight.detach(), is_grouped and isinstance(layer, nn.Conv2d)
        like = weight
        if is_grouped:
            like = weight.new_empty((weight.shape[0], 1, 1, 1) if has_maps else (1, weight.shape[1]))
        first = torch.empty(like.shape).normal_(logit, INITIAL_SPREAD, generator=generator)
        self.log_alpha = nn.Parameter(torch.empty_like(like).copy_(first))
        self.members: dict[str, Tensor] = {f"{name}.weight": layer.weight}
        if has_maps and layer.bias is not None:
            self.members[f"{name}.bias"] = layer.bias
        self.num_weights = sum(member.numel() for member in self.members.values())
        self._drawn = self.log_alpha.detach()

    def on(self, name: str, parameter: Tensor, is_training: bool) -> Tensor:
        """The gates on one of the members; a bias has those that were drawn for its weight, which comes before it."""
        if not is_training:
            return _fitting(settled(self.log_alpha), parameter)
        if name.endswith("weight"):
            self._drawn = drawn(self.log_alpha)
        return _fitting(self._drawn, parameter)

    def expected_kept(self) -> Tensor:
        """How many weights are open in the mean."""
        return probability_open(self.log_alpha).sum() * (self.num_weights / self.log_alpha.numel())

    def expected_square(self) -> Tensor:
        """The sum of the squares of those."""
        is_open = probability_open(self.log_alpha)
        return torch.stack([(_fitting(is_open, of) * of.square()).sum() for of in self.members.values()]).sum()


def _fitting(gates: Tensor, parameter: Tensor) -> Tensor:
    return gates if parameter.dim() > 1 else gates.flatten()


class L0(Method):
    """Weights times hard concrete gates, and the expected number of those that are open as a term of the loss.

    Args:
        model: whose linear layers and convolutions have gates.
        masks: follow the gates, which may open again.
        steps: whose number of examples is N.
        seed: of the gates' first values.
        granularity: group or weight.
        l0_lambda: lambda, of each weight.
        layer_lambdas: that of the layers whose weight's name fits a pattern.
        weight_decay: of weights, in the measure in which their gate is open.
        initial_drop: p, with which log alpha begins near log((1 - p) / p); in (0, 1).
        gate_rate: constant learning rate of log alpha; None: the network's.

    Raises:
        ValueError: if `granularity` is neither, a pattern fits no layer, or there is no layer.
    """

    def __init__(
        self,
        model: nn.Module,
        masks: Masks,
        steps: Steps,
        seed: int,
        granularity: str,
        l0_lambda: float,
        layer_lambdas: dict[str, float],
        weight_decay: float,
        initial_drop: float,
        gate_rate: float | None,
    ) -> None:
        if granularity not in GRANULARITIES:
            raise ValueError(f"pruner.method.granularity={granularity} is unknown; choose one of group, weight.")
        layers = weighted_layers(model)
        if not layers:
            raise ValueError("pruner=l0 has gates for linear layers and convolutions, of which this network has none.")
        masks.let_return()
        names, logit = [f"{name}.weight" for name in layers], math.log((1 - initial_drop) / initial_drop)
        drawing = (granularity == "group", torch.Generator().manual_seed(seed), logit)
        self._layers = {f"{name}.weight": LayerGates(name, layer, *drawing) for name, layer in layers.items()}
        self._gates_of = {name: gates for gates in self._layers.values() for name in gates.members}
        self._lambdas = by_name(names, l0_lambda, layer_lambdas, "pruner.method.layer_lambdas")
        self._weight_decay, self._gate_rate, self._num_examples = weight_decay, gate_rate, steps.num_examples
        zero = next(iter(layers.values())).weight.detach().new_zeros(())
        self.recorded = {"penalty/value": zero, "l0/expected_kept": zero.clone()}

    def effective(self, name: str, weight: Tensor, is_training: bool) -> Tensor:
        """The weight times its gate."""
        gates = self._gates_of.get(name)
        return weight if gates is None else weight * gates.on(name, weight, is_training)

    def kept(self) -> dict[str, Tensor]:
        """The weights whose gate is not exactly 0 in an evaluation."""
        return {
            name: (gates.on(name, member, is_training=False) != 0).expand_as(member)
            for gates in self._layers.values()
            for name, member in gates.members.items()
        }

    def term(self, outputs: Tensor, batch: object) -> Tensor:
        """The penalty; E[number of weights that are open] goes on the record as a share of those with gates."""
        expected = torch.stack([gates.expected_kept() for gates in self._layers.values()])
        value = torch.stack([self._lambdas[name] * of for name, of in zip(self._layers, expected, strict=True)]).sum()
        if self._weight_decay > 0:
            squares = torch.stack([gates.expected_square() for gates in self._layers.values()]).sum()
            value = value + 0.5 * self._weight_decay * squares
        value = value / self._num_examples
        self.recorded["penalty/value"].copy_(value.detach())
        num_weights = sum(gates.num_weights for gates in self._layers.values())
        self.recorded["l0/expected_kept"].copy_(expected.detach().sum() / num_weights)
        return value

    def own_parameters(self) -> list[OwnParameters]:
        """Log alpha of all gates, at a rate of its own and without decay."""
        return [OwnParameters([gates.log_alpha for gates in self._layers.values()], self._gate_rate)]

    def after_step(self, parameters: list[Tensor], learning_rate: Tensor) -> None:
        """Log alpha stays where a gate can still be opened, or shut, by its gradient."""
        for gates in self._layers.values():
            gates.log_alpha.clamp_(*LOG_ALPHAS)

    def state_dict(self) -> dict[str, Any]:
        """Log alpha of each layer."""
        return {name: gates.log_alpha.detach() for name, gates in self._layers.items()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore log alpha."""
        for name, log_alpha in state.items():
            self._layers[name].log_alpha.detach().copy_(log_alpha)
