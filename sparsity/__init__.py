"""Regularization-based pruning of irrelevant weights: the paper's method and its rivals in one training loop."""
