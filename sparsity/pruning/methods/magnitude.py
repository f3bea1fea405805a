"""Magnitude pruning: "weights below a threshold are removed", the smallest |w| of the whole network first, no penalty.

Source: Han et al. 2015 (arXiv 1506.02626), here behind the paper's gate and with one threshold for all layers, where
Han's is a layer's own. No knobs.
"""

from sparsity.pruning.method import Method


class Magnitude(Method):
    """Removes by magnitude, adds nothing to training."""
