"""The networks that a finished run hands on: a compact file per row of its summary, and a card of what is in them.

The files are those of `sparsity.weights.export`, with a header that says of which run and row they are; the card holds
what only torch can measure, so that reports need not read tensors.
"""

from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from torch import Tensor, nn

from sparsity.files import sha256, write_json
from sparsity.provenance import CONFIG
from sparsity.records import CARD, NETWORKS, SCHEMA, Card, Network, Row, Summary
from sparsity.weights.checkpoints import load_kept
from sparsity.weights.export import PLAN, load_sparse, metadata, save_sparse
from sparsity.weights.worth import worth


def leave_networks(
    directory: Path, summary: Summary, build_model: Callable[[], nn.Module], shape: tuple[int, ...] | None
) -> None:
    """Write the network of each row of a run's summary into its directory, and the card.

    Args:
        directory: the run's, with its checkpoints.
        summary: what its summary.json says.
        build_model: the run's network, whose tied weights are to be stored once.
        shape: of an input image, None of other inputs.

    Raises:
        CheckpointError: if a row's checkpoint is missing or damaged.
    """
    model, entries = build_model(), []
    for row in summary.rows:
        state = load_kept(directory / "checkpoints" / f"{checkpoint_of(row)}.pt", model, directory / CONFIG)
        model.load_state_dict(state["weights"])
        path = directory / NETWORKS / f"{row.start}.safetensors"
        save_sparse(path, model.state_dict(), header(summary, row))
        network = measured(row.start, path, trainable(model))
        entries.append(replace(network, worth=worth(build_model, load_sparse(path), shape)))
    write_json(directory / CARD, {"schema": SCHEMA, **asdict(Card(tuple(entries)))})


def checkpoint_of(row: Row) -> str:
    """The checkpoint that a row was scored from; early summaries do not name it."""
    return row.checkpoint or f"finetune/{row.start}/best"


def header(summary: Summary, row: Row) -> dict[str, Any]:
    """What a network says of itself: its run and row, the data it was made and scored with, and what it reached."""
    origin = summary.provenance
    metrics = {"name": summary.metric, "val": row.val, "test": row.test, "extra_tests": row.extra_tests}
    return {
        **{key: getattr(summary, key) for key in ("experiment", "fingerprint", "seed", "scale", "pruner", "protocol")},
        **{key: getattr(row, key) for key in ("start", "epoch", "sparsity", "kept", "total")},
        **{"metric": metrics, "splits": summary.splits or {}},
        **{key: getattr(origin, key) for key in ("data_checksums", "commit", "dirty", "versions")},
    }


def measured(start: str, path: Path, parameters: list[str]) -> Network:
    """The network of the row from `start`, measured: its bytes and digest, and of each parameter what it keeps."""
    weights = load_sparse(path)
    layers = {name: counts(weights[name]) for name in parameters}
    return Network(
        start=start,
        file=f"{NETWORKS}/{path.name}",
        bytes=path.stat().st_size,
        sha256=sha256(path),
        total=sum(layer["total"] for layer in layers.values()),
        kept=sum(layer["kept"] for layer in layers.values()),
        layers=layers,
    )


def weighed(
    path: Path, model: nn.Module, build_model: Callable[[], nn.Module], shape: tuple[int, ...] | None
) -> Network:
    """The network of anybody's file as it would stand on a card: its bytes are those of a compact file.

    Args:
        model: with the weights of the file.
        build_model: makes another of its kind. shape: of an input image, None of other inputs.
    """
    with TemporaryDirectory() as folder:
        compact = path if PLAN in metadata(path) else Path(folder) / "network.safetensors"
        if compact != path:
            save_sparse(compact, model.state_dict())
        network = measured("", compact, trainable(model))
        return replace(network, sha256=sha256(path), worth=worth(build_model, load_sparse(compact), shape))


def trainable(model: nn.Module) -> list[str]:
    """The parameters that are counted: frozen ones are nobody's to prune."""
    return [name for name, parameter in model.named_parameters() if parameter.requires_grad]


def counts(weight: Tensor) -> dict[str, int]:
    """Weights in all and those that are not zero."""
    return {"total": weight.numel(), "kept": int(weight.count_nonzero())}
