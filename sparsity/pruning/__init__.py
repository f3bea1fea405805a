"""The science: pure functions and small classes over named tensors."""
