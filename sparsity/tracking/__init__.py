"""Who is told what happens: the record, the terminal, and W&B, its mirror."""
