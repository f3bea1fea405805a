"""How a network learns; has never heard of pruning."""
