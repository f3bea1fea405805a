"""Small results folders: the record of a run with numbers one can check by hand."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from sparsity.report.markdown import render_markdown
from sparsity.report.page import build_page, load_sections

REPOSITORY = Path(__file__).resolve().parents[2]
PAPER = REPOSITORY / "results" / "paper"

LAYERS = {"conv1": (520, 150), "conv2": (25050, 456), "fc1": (400500, 440), "fc2": (5010, 168)}
KEPT, TOTAL = 1214, 431080

# Those of lenet5_mnist, by which a run is no variant.
PHASES = {
    "regularise.num_epochs": 120, "regularise.evaluate_every_steps": 250, "finetune.num_epochs": 5,
    "finetune.lr_schedule.name": "cosine", "gate.bound": 98.7, "gate.target_sparsity": 0.9971, "gate.margin": 0.6,
}  # fmt: skip

AddRun = Callable[..., Path]


def row(start: str = "paper_sparsity", test: float = 99.2, kept: int = KEPT, total: int = TOTAL) -> dict[str, Any]:
    """One row of a summary; sparsity and compression follow from the counts."""
    counts = {"kept": kept, "total": total, "sparsity": 1 - kept / total, "compression": total / max(kept, 1)}
    return {"start": start, **counts, "val": test + 0.1, "test": test, "epoch": 3, "num_epochs": 5}


def summary(**changes: Any) -> dict[str, Any]:
    """A finished run of lenet5_mnist as schema 1 promises it, with the top-level entries in `changes` replaced."""
    document = {
        "schema": 1, "experiment": "lenet5_mnist", "model": "lenet5", "dataset": "mnist", "data_source": "real",
        "data_name": "mnist", "pruner": "relevance", "protocol": "sound", "scale": "paper", "shortened": False,
        "seed": 0, "fingerprint": "ab12cd34ef56", "metric": "accuracy",
        "settings": PHASES | {"pruner.name": "relevance", "pruner.prunes": True, "pruner.penalty.strength": 1e-3},
        "baseline": {"source": "none", "num_epochs": 0, "val": None, "test": None, "saw": []},
        "gate": {"bound_printed": 98.7, "bound_used": 98.7, "policy": "fallback", "why": "The bound was passed."},
        "plan": {"num_steps": 66000, "num_evaluations": 240, "prunes_needed": 144, "reachable": True},
        "regularise": {"num_steps": 66000, "num_evaluations": 240, "num_prunes": 144, "sparsity": 0.9972, "val": 99.0,
                       "stopped": "epochs ended"},
        "rows": [row("paper_sparsity"), row("last", test=99.1)],
        "frontier": [{"prune": 1, "step": 500, "sparsity": 0.0, "val": 98.9},
                     {"prune": 40, "step": 9000, "sparsity": 0.8, "val": 99.1},
                     {"prune": 60, "step": 12000, "sparsity": 0.91, "val": 99.0}],
        "paper": {"metric": 99.23, "sparsity": 0.9971, "baseline": 99.32},
        "provenance": {"commit": "0123456789abcdef", "dirty": False, "command": "python scripts/train.py seed=0",
                       "device": "cpu: Example, 2 threads", "versions": {"torch": "2.14.1"}, "wall_seconds": 2400.0,
                       "finished": "2026-01-31T10:00:00Z", "data_checksums": {"images": "d41d8"}},
    }  # fmt: skip
    return {**document, **changes}


def _layers(model: str, kept: int, total: int) -> dict[str, tuple[int, int]]:
    """The layers of a network of which so many weights are left: `LAYERS`, or the first ones filled up."""
    if model == "transformer":
        return {"model.shared": (total, kept)}
    layers = {**LAYERS, "fc2": (LAYERS["fc2"][0] + total - TOTAL, LAYERS["fc2"][1])}
    if kept != sum(left for _, left in layers.values()):
        for name, (size, _) in layers.items():
            layers[name] = (size, min(size, kept))
            kept -= layers[name][1]
    return layers


def write_run(root: Path, document: dict[str, Any]) -> Path:
    """Write the three records of a run under `root` where the pipeline would."""
    configuration = f"{document['scale']}-{document['pruner']}-{document['fingerprint']}"
    directory = root / document["experiment"] / configuration / f"seed{document['seed']}"
    directory.mkdir(parents=True)
    (directory / "summary.json").write_text(json.dumps(document))
    lines = [f"{entry['start']},{name}.weight,1x1,{total},{kept},{1 - kept / total}" for entry in document["rows"]
             for name, (total, kept) in _layers(document["model"], entry["kept"], entry["total"]).items()]  # fmt: skip
    (directory / "layers.csv").write_text("\n".join(["start,parameter,shape,total,kept,sparsity", *lines]) + "\n")
    points = [{"phase": "regularise", "step": 250 * (i + 1), "epoch": i, "val": 98.0 + i, "sparsity": 0.04 * i,
               "pruned": i == 1, "lowest_mean_irrelevance": 0.99 + 0.001 * i} for i in range(3)]  # fmt: skip
    (directory / "curve.jsonl").write_text("".join(json.dumps(point) + "\n" for point in points))
    return directory


def add_networks(directory: Path, sizes: dict[str, int]) -> None:
    """The card of a run that has handed on networks of these bytes, by the start of their rows."""
    networks = [
        {
            "start": start,
            "file": f"networks/{start}.safetensors",
            "bytes": size,
            "sha256": "",
            "total": TOTAL,
            "kept": KEPT,
        }
        for start, size in sizes.items()
    ]
    (directory / "networks").mkdir()
    (directory / "card.json").write_text(json.dumps({"schema": 1, "networks": networks}))


def render_page(results: Path) -> str:
    """The page of a results folder as text."""
    return render_markdown(build_page(results, load_sections(results)))
