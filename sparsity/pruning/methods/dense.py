"""Plain training: no penalty, nothing removed; with `pruner.prunes=true` plain magnitude pruning.

The null object that every other method is compared with.
"""

from sparsity.pruning.method import Method


class Dense(Method):
    """Adds nothing to training."""
