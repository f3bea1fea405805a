"""The machine that a run computes on: its device, driver and environment, and whether its GPU can be trusted."""
