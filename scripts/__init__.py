"""The commands of the project, run as `python scripts/NAME.py`; a package so that the import contract covers them."""
