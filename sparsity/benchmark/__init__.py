"""How fast is it? Our training step timed against plain training and against a straightforward research recipe."""
