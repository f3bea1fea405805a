"""Which networks does a finished run hand on? One compact file per row of its summary, and a card of what is in them.

The files are those of `sparsity.weights.export`, with a header that says of which run and row they are; the card holds
what only torch can measure, so that reports need not read tensors.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from sparsity.files import sha256, write_json
from sparsity.report.records import CARD, NETWORKS
from sparsity.weights.checkpoints import load_checkpoint
from sparsity.weights.export import load_sparse, save_sparse

SCHEMA = 1


def leave_networks(directory: Path, summary: Mapping[str, Any], build_model: Callable[[], nn.Module]) -> None:
    """Write the network of each row of a run's summary into its directory, and the card.

    Args:
        directory: the run's, with its checkpoints.
        summary: the content of its summary.json.
        build_model: the run's network, whose tied weights are to be stored once.

    Raises:
        CheckpointError: if a row's checkpoint is missing or damaged.
    """
    model, entries = build_model(), []
    for row in summary["rows"]:
        state = load_checkpoint(directory / "checkpoints" / f"{checkpoint_of(row)}.pt")
        model.load_state_dict(state["weights"])
        path = directory / NETWORKS / f"{row['start']}.safetensors"
        save_sparse(path, model.state_dict(), header(summary, row))
        entries.append({"start": row["start"]} | measured(path, [name for name, _ in model.named_parameters()]))
    write_json(directory / CARD, {"schema": SCHEMA, "networks": entries})


def checkpoint_of(row: Mapping[str, Any]) -> str:
    """The checkpoint that a row was scored from; early summaries do not name it."""
    checkpoint: str = row.get("checkpoint", f"finetune/{row['start']}/best")
    return checkpoint


def header(summary: Mapping[str, Any], row: Mapping[str, Any]) -> dict[str, Any]:
    """What a network says of itself: its run and row, the data it was made and scored with, and what it reached."""
    origin = summary["provenance"]
    metrics = {name: row[name] for name in ("val", "test", "extra_tests") if row.get(name) is not None}
    return {
        **{key: summary[key] for key in ("experiment", "fingerprint", "seed", "scale", "pruner", "protocol")},
        **{"start": row["start"], "epoch": row["epoch"], "sparsity": row["sparsity"]},
        **{"kept": row["kept"], "total": row["total"], "metric": {"name": summary["metric"], **metrics}},
        **{"splits": summary.get("splits", {}), "data_checksums": origin["data_checksums"]},
        **{"commit": origin["commit"], "dirty": origin["dirty"], "versions": origin["versions"]},
    }


def measured(path: Path, parameters: list[str]) -> dict[str, Any]:
    """A network's file, measured: its bytes and digest, and of each parameter how many weights it has and keeps."""
    weights = load_sparse(path)
    layers = {name: counts(weights[name]) for name in parameters}
    return {
        "file": f"{NETWORKS}/{path.name}",
        "bytes": path.stat().st_size,
        "sha256": sha256(path),
        "total": sum(layer["total"] for layer in layers.values()),
        "kept": sum(layer["kept"] for layer in layers.values()),
        "layers": layers,
    }


def counts(weight: Tensor) -> dict[str, int]:
    """Weights in all and those that are not zero."""
    return {"total": weight.numel(), "kept": int(weight.count_nonzero())}
