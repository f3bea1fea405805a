"""How do our runs compare with the paper? Tables from the files under `results/`, without torch, Hydra or a network."""
