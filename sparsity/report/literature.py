"""Published points of other methods, each in its own unit: the file `results/literature.csv` as frozen dataclasses."""

import csv
from dataclasses import dataclass, fields
from pathlib import Path

UNITS = ("weights", "weights+biases", "storage", "")
METRICS = ("accuracy", "error", "bleu")


@dataclass(frozen=True)
class PublishedPoint:
    """One published result; method, network and data set by their names here.

    value: of the metric, in percent or BLEU. density: the share that is left, in (0, 1], of what `unit` says: weights,
    weights+biases, bytes of storage, or, empty, of what the source does not say. source: an arXiv number and the place.
    """

    method: str
    network: str
    dataset: str
    metric: str
    value: float
    density: float
    unit: str
    source: str
    note: str

    def __post_init__(self) -> None:
        if self.unit not in UNITS or self.metric not in METRICS:
            raise ValueError(f"{self.metric} and {self.unit} are not among {METRICS} and {UNITS}")
        if not (0 < self.density <= 1 and 0 <= self.value <= 100 and self.source):
            raise ValueError("a density lies in (0, 1], a value in [0, 100], and each has a source")

    @property
    def score(self) -> float:
        """The value as our runs have it, where more is better: 100 minus an error."""
        return 100 - self.value if self.metric == "error" else self.value


def load_literature(path: Path) -> tuple[PublishedPoint, ...]:
    """Read all points; none where there is no such file.

    Raises:
        ValueError: one sentence with the line that is damaged and what is wrong in it.
    """
    if not path.is_file():
        return ()
    lines = [line for line in path.read_text(encoding="utf-8").splitlines() if not line.startswith("#")]
    return tuple(_point(row, path) for row in csv.DictReader(lines))


def _point(row: dict[str, str], path: Path) -> PublishedPoint:
    texts = {entry.name: row.get(entry.name) for entry in fields(PublishedPoint)}
    try:
        if None in (*row, *texts.values()):
            raise ValueError(f"its columns must be {', '.join(texts)}")
        words = {name: str(text) for name, text in texts.items() if name not in ("value", "density")}
        return PublishedPoint(**words, value=float(row["value"]), density=float(row["density"]))
    except ValueError as error:
        shown = ",".join(str(value) for value in row.values())
        raise ValueError(f"{path} cannot be used: {shown}: {error}; restore it from the repository.") from error
