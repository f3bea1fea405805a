"""Files of weights: checkpoints, networks that are handed on or were saved elsewhere, and their sizes on disk."""
