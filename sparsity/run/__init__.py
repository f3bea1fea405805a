"""The paper's algorithm, and how a run of it survives and is written down. `pipeline` is the page to read first."""
