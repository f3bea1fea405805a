"""Numbers by name: one for all, and others for the parameters whose names fit a pattern, as a shell knows patterns."""

from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase


def by_name(names: Iterable[str], default: float, patterns: Mapping[str, float], setting: str) -> dict[str, float]:
    """Name -> number of the first pattern that fits it, or else the default.

    Args:
        names: of parameters.
        default: of those that no pattern fits.
        patterns: pattern -> number, such as {"conv1.*": 1.0}.
        setting: the dotted path of `patterns`, for an error.

    Raises:
        ValueError: if a pattern fits no name.
    """
    known = list(names)
    for pattern in patterns:
        if not any(fnmatchcase(name, pattern) for name in known):
            raise ValueError(f"{setting} names {pattern}, which fits no parameter; they are {', '.join(known)}.")
    return {name: _first(name, default, patterns) for name in known}


def _first(name: str, default: float, patterns: Mapping[str, float]) -> float:
    return next((number for pattern, number in patterns.items() if fnmatchcase(name, pattern)), default)
