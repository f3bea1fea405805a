"""A population of on/off states under differential evolution on bits, as EDropout (arXiv 2006.04270) has it."""

from collections.abc import Callable

import torch
from torch import Tensor


def evolve(
    population: Tensor, energies: Callable[[Tensor], Tensor], mutation: float, crossover: float
) -> tuple[Tensor, Tensor]:
    """The next generation of a population [members, units], and its energies; no member's ever rises."""
    size = len(population)
    chances = torch.rand(size, size, device=population.device)
    others = chances.fill_diagonal_(2.0).argsort(1)[:, :3]
    first, second, third = (population.index_select(0, place) for place in others.unbind(1))
    is_changed = torch.rand(population.shape, device=population.device) > mutation
    mutants = mutated(first, second, third, is_changed)
    is_crossed = torch.rand(population.shape, device=population.device) < crossover
    mutants = torch.where(is_crossed, mutants, population)
    before, after = energies(population), energies(mutants)
    is_better = after < before
    return torch.where(is_better.unsqueeze(1), mutants, population), torch.where(is_better, after, before)


def mutated(first: Tensor, second: Tensor, third: Tensor, is_changed: Tensor) -> Tensor:
    """Bits of the first; of those that are changed the opposite where second and third agree, else off."""
    return torch.where(is_changed, ~first & (second == third), first)
