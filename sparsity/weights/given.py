"""Reads trained networks that were saved elsewhere, in the forms that people have, fitted to a model.

torch's two formats, safetensors, and the compact file of `sparsity.weights.export`; weights by themselves or under one
of the names in `KEYS`; names with the prefix of a wrapper; pairs that torch.nn.utils.prune leaves. Nothing is unpickled
but tensors and plain values.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from sparsity.weights.checkpoints import CheckpointError, load_checkpoint, load_tensors
from sparsity.weights.export import PLAN, load_sparse, metadata

KEYS = ("weights", "state_dict", "model_state_dict", "model", "net")
COUNTER = ".num_batches_tracked"  # of a batch norm: nothing depends on it, and checkpoints before torch 0.4.1 have none
_ORIGINAL, _MASK = "_orig", "_mask"  # of torch.nn.utils.prune: the weight is their product
_ZIP = b"PK\x03\x04"  # what torch's format begins with; an archive of nothing, or of parts, does not
_LEGACY = b"\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."  # the number that torch's format before 1.6 begins with
_REMEDY = "give a file of its weights, such as torch.save(model.state_dict(), PATH) writes"

Weights = dict[str, Tensor]


@dataclass(frozen=True)
class GivenWeights:
    """A network as somebody gave it.

    Attributes:
        weights: a state_dict of the model, on the CPU, in its names and types.
        saw: identities of the data that it was trained on; None if the file does not say.
    """

    weights: Weights
    saw: tuple[str, ...] | None


def read_weights(path: Path, model: nn.Module) -> GivenWeights:
    """The weights in a file, held to be those of `model`.

    Raises:
        CheckpointError: one sentence with what is wrong with the file, or with the first weight that does not fit.
    """
    content = _read(path)
    saw = content.get("saw") if isinstance(content, dict) else None
    found = _masked(_found(content, path))
    expected = model.state_dict()
    weights = _tied(_without_prefixes(found, expected), expected)
    _check_fits(path, weights, expected, type(model).__name__)
    kept = {name: weights.get(name, value.detach().cpu()) for name, value in expected.items()}
    kept = {name: value.detach().to(expected[name].dtype) for name, value in kept.items()}
    _check_finite(path, kept)
    return GivenWeights(kept, tuple(map(str, saw)) if isinstance(saw, list | tuple) else None)


def check_weights(path: Path) -> None:
    """Hold a file to be one of weights, of whatever model. Raises as `read_weights`."""
    _found(_read(path), path)


def _read(path: Path) -> Any:
    if path.is_dir():
        raise CheckpointError(f"{path} is a folder; name the checkpoint in it.")
    if not path.is_file():
        raise CheckpointError(f"There is no checkpoint at {path}; check the path.")
    with path.open("rb") as file:
        head = file.read(64)
    if not head:
        raise CheckpointError(f"The checkpoint {path} is empty: have it anew.")
    if head.startswith(_ZIP):
        return load_checkpoint(path)
    if _LEGACY in head:
        return load_tensors(path)
    if head[8:9] == b"{":
        return _read_safetensors(path)
    raise CheckpointError(f"{path} is no checkpoint that torch or safetensors wrote; {_REMEDY}.")


def _read_safetensors(path: Path) -> Weights:
    try:
        return load_sparse(path) if PLAN in metadata(path) else load_file(path)
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"The checkpoint {path} is damaged ({error}).") from error


def _found(content: Any, path: Path) -> Weights:
    """Where the weights stand in what was read: all of it, or under one of the usual names."""
    if _are_weights(content):
        return dict(content)
    there = [key for key in KEYS if isinstance(content, dict) and _are_weights(content.get(key))]
    if len(there) > 1:
        raise CheckpointError(f"{path} has weights under {' and '.join(there)}: keep one of them.")
    if not there:
        held = ", ".join(map(str, content)) if isinstance(content, dict) else type(content).__name__
        raise CheckpointError(
            f"{path} has no weights by themselves nor under {', '.join(KEYS)}; it holds {held[:200] or 'nothing'}: "
            f"{_REMEDY}."
        )
    return dict(content[there[0]])


def _are_weights(content: Any) -> bool:
    is_named = isinstance(content, Mapping) and all(isinstance(name, str) for name in content)
    return is_named and bool(content) and all(isinstance(value, Tensor) for value in content.values())


def _masked(weights: Weights) -> Weights:
    """Pairs as torch.nn.utils.prune leaves them, multiplied."""
    pairs = {name.removesuffix(_MASK) for name in weights if name.endswith(_MASK)}
    pairs = {name for name in pairs if name + _ORIGINAL in weights and name not in weights}
    parts = {name + end for name in pairs for end in (_ORIGINAL, _MASK)}
    products = {name: weights[name + _ORIGINAL] * weights[name + _MASK] for name in pairs}
    return {name: value for name, value in weights.items() if name not in parts} | products


def _without_prefixes(weights: Weights, expected: Mapping[str, Tensor]) -> Weights:
    """Names without what wrappers put before all of them: DataParallel's `module.`, Lightning's `model.` and others."""
    while not weights.keys() & expected.keys() and len({name.partition(".")[0] for name in weights}) == 1:
        if not all("." in name for name in weights):
            break
        weights = {name.partition(".")[2]: value for name, value in weights.items()}
    return weights


def _tied(weights: Weights, expected: Mapping[str, Tensor]) -> Weights:
    """With the second names of tied tensors, which safetensors leaves out."""
    places: dict[tuple[int, torch.Size], Tensor] = {}
    for name, value in expected.items():
        if name in weights and value.numel():
            places[value.data_ptr(), value.shape] = weights[name]
    second = {
        name: places[value.data_ptr(), value.shape]
        for name, value in expected.items()
        if name not in weights and (value.data_ptr(), value.shape) in places and value.data_ptr()
    }
    return weights | second


def _check_fits(path: Path, weights: Weights, expected: Mapping[str, Tensor], model: str) -> None:
    ours, theirs = ({name for name in names if not name.endswith(COUNTER)} for names in (expected, weights))
    problems = [f"{name}, which {model} has, is missing" for name in sorted(ours - theirs)]
    problems += [f"{name} is none of {model}'s" for name in sorted(theirs - ours)]
    for name in sorted(ours & theirs):
        got, wanted = weights[name], expected[name]
        if got.shape != wanted.shape:
            problems.append(f"{name} has shape {tuple(got.shape)} there and {tuple(wanted.shape)} in {model}")
        elif got.is_meta:
            problems.append(f"{name} has a shape there but no values")
        elif got.is_floating_point() != wanted.is_floating_point() or got.layout != torch.strided:
            problems.append(f"{name} is of {got.dtype}, {got.layout} there, which is not what {model} computes with")
    if problems:
        more = f" (and {len(problems) - 1} more do not fit)" if len(problems) > 1 else ""
        raise CheckpointError(
            f"{path} is a checkpoint of another model: {problems[0]}{more}; give a checkpoint of this model."
        )


def _check_finite(path: Path, weights: Weights) -> None:
    for name, value in weights.items():
        num_bad = int((~torch.isfinite(value)).sum())
        if num_bad:
            raise CheckpointError(
                f"{path} holds {num_bad} of {value.numel()} values in {name} that are not finite: its training had "
                "failed, or a type of fewer bits could not hold them; give another checkpoint."
            )
