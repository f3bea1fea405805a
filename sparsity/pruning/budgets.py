"""How much of each tensor is kept: a budget spreads a sparsity over the network, `selection` picks the weights.

global: no budget, the tensors compete. uniform: the same sparsity in each (Zhu & Gupta 2017). column: the same in each
output column, a filter or a neuron (Gomez et al. 2019). erk: density in proportion to sum(shape) / prod(shape), the
"Erdos-Renyi-Kernel" of Evci et al. 2020 (arXiv 1911.11134); biases and norms stay dense, as there. given: a share of
each tensor's own sparsity.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import TypeAlias

Shapes: TypeAlias = Mapping[str, Sequence[int]]
Budget: TypeAlias = Callable[[Shapes, float], dict[str, int]]
"""(name -> shape, sparsity of them all in [0, 1]) -> name -> number of weights kept."""


def uniform(shapes: Shapes, sparsity: float) -> dict[str, int]:
    """The same sparsity in each tensor."""
    return {name: _kept(shape, 1 - sparsity) for name, shape in shapes.items()}


def erdos_renyi(shapes: Shapes, sparsity: float) -> dict[str, int]:
    """Density in proportion to sum(shape) / prod(shape), at most 1; vectors are kept whole.

    Where that would keep more than all of a tensor it is kept whole, and the rest shares what is left of the budget.

    Raises:
        ValueError: if the vectors alone are more than the budget.
    """
    whole = {name for name, shape in shapes.items() if len(shape) < 2}
    left = (1 - sparsity) * sum(map(math.prod, shapes.values()))
    while True:
        sparse = [name for name in shapes if name not in whole]
        budget = left - sum(math.prod(shapes[name]) for name in whole)
        if budget < 0:
            raise ValueError(
                f"pruner.budget=erk keeps biases and norms, which are more than the {left:.0f} weights that a sparsity "
                f"of {sparsity:g} leaves: ask for a lower one, or set pruner.counted=weights."
            )
        scale = budget / max(sum(sum(shapes[name]) for name in sparse), 1)
        densities = {name: scale * sum(shapes[name]) / math.prod(shapes[name]) for name in sparse}
        too_dense = {name for name, density in densities.items() if density > 1}
        if not too_dense:
            return {name: _kept(shape, densities.get(name, 1.0)) for name, shape in shapes.items()}
        whole |= too_dense


def given(sparsities: Mapping[str, float]) -> Budget:
    """Each tensor's own sparsity, all scaled alike until the network's is reached; who is not named is kept whole.

    Raises:
        ValueError: when called, if a name is no parameter's.
    """

    def budget(shapes: Shapes, sparsity: float) -> dict[str, int]:
        unknown = sorted(set(sparsities) - set(shapes))
        if unknown:
            raise ValueError(
                f"pruner.layer_sparsities names {unknown[0]}, which is no parameter that is pruned; they are "
                f"{', '.join(shapes)}."
            )
        total = sum(map(math.prod, shapes.values()))
        final = sum(of * math.prod(shapes[name]) for name, of in sparsities.items()) / total
        share = min(1.0, sparsity / final) if final else 0.0
        return {name: _kept(shape, 1 - share * sparsities.get(name, 0.0)) for name, shape in shapes.items()}

    return budget


def _kept(shape: Sequence[int], density: float) -> int:
    count = math.prod(shape)
    return count - round((1 - density) * count)
