"""Regularization-based pruning of irrelevant weights: the paper's method and its rivals in one training loop."""

import os

from sparsity.hardware import environment

environment.settle(os.environ)  # here, as whatever imports torch in this project comes through this file first
