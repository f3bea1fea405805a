"""Data sets: fetched, verified, split and gathered into batches. Empty of imports, so that `sizes` needs no torch."""
