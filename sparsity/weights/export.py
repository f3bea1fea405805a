"""Pruned networks handed on: a compact file of the kept weights for any network, a folder for Hugging Face's.

The compact file is a safetensors file. A tensor that has enough zeros is stored as `<name>::kept`, its weights that are
left, and `<name>::mask`, one bit per weight (`sparsity.pruning.masks.pack_bits`); others are stored as they are, tied
tensors once. What is read back is the same, bit for bit, but for the -0.0 that a mask leaves of a negative weight:
every zero is +0.0.
"""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from sparsity.files import replaced
from sparsity.pruning.masks import pack_bits, unpack_bits
from sparsity.weights.checkpoints import plain_weights

SCHEMA, PLAN = 2, "sparsity"
KEPT, MASK = "::kept", "::mask"


def save_sparse(path: Path, weights: Mapping[str, Tensor], header: Mapping[str, Any] | None = None) -> None:
    """Write a state_dict into one compact file, whole or not at all.

    Args:
        path: usually `<something>.safetensors`.
        weights: a state_dict whose pruned weights are zeros.
        header: what the file is to say of them, as JSON; `load_header` reads it.
    """
    tensors: dict[str, Tensor] = {}
    shapes: dict[str, list[int]] = {}
    tied: dict[str, str] = {}
    first: dict[tuple[int, torch.Size], str] = {}
    for name, value in plain_weights(weights).items():
        tied[name] = first.setdefault((value.data_ptr(), value.shape), name) if value.numel() else name
        if tied[name] == name:
            tensors |= _pieces(name, value)
            shapes[name] = list(value.shape)
    # under one name, as safetensors has no order of its metadata: the same weights are to give the same bytes
    plan = {"schema": SCHEMA, "tied": tied, "shapes": shapes, "header": header or {}}
    path.parent.mkdir(parents=True, exist_ok=True)
    with replaced(path) as file:
        file.write(save(tensors, metadata={PLAN: json.dumps(plan)}))


def load_sparse(path: Path) -> dict[str, Tensor]:
    """The state_dict that `save_sparse` wrote, on the CPU, in its order; tied names share one tensor.

    Raises:
        ValueError: if it is no such file.
    """
    with _opened(path) as (file, plan):
        tensors = {name: _restored(file, name, torch.Size(shape)) for name, shape in plan["shapes"].items()}
        return {name: tensors[first] for name, first in plan["tied"].items()}


def load_header(path: Path) -> dict[str, Any]:
    """What a compact file says of its weights; empty if it says nothing. Raises as `load_sparse`."""
    with _opened(path) as (_, plan):
        header: dict[str, Any] = plan["header"]
        return header


def header_of(path: Path) -> dict[str, Any]:
    """The same of any file of weights: nothing where it is none of ours."""
    return load_header(path) if PLAN in metadata(path) else {}


def metadata(path: Path) -> dict[str, str]:
    """What a safetensors file says beside its tensors; nothing of any other file. `PLAN` stands in compact ones."""
    try:
        with safe_open(path, framework="pt") as file:
            return dict(file.metadata() or {})
    except (OSError, SafetensorError):
        return {}


@contextmanager
def _opened(path: Path) -> Iterator[tuple[Any, dict[str, Any]]]:
    """A compact file and its plan."""
    try:
        with safe_open(path, framework="pt") as file:
            plan = json.loads((file.metadata() or {}).get(PLAN, "{}"))
            if plan.get("schema") != SCHEMA:
                raise ValueError(f"{path} is no compact file of schema {SCHEMA}; write one with scripts/export.py.")
            yield file, plan
    except (OSError, SafetensorError) as error:
        raise ValueError(f"{path} cannot be read as a compact file ({error}); check the path.") from error


def save_huggingface(directory: Path, model: Any, tokenizer_file: Path | None) -> None:
    """A folder that `from_pretrained` reads: configuration, weights and, if there is one, the tokenizer.

    Args:
        model: one of transformers' own.
        tokenizer_file: a `tokenizer.json` of the `tokenizers` library that has the special ids of the model.
    """
    model.save_pretrained(directory)
    if tokenizer_file is not None:
        _tokenizer(tokenizer_file, model.config).save_pretrained(directory)


def _tokenizer(path: Path, config: Any) -> Any:
    """A text becomes what the network was trained on: start token, its tokens, end token."""
    from tokenizers import Tokenizer
    from tokenizers.processors import TemplateProcessing
    from transformers import PreTrainedTokenizerFast

    backend = Tokenizer.from_file(str(path))
    start, end, pad = (
        backend.id_to_token(number) for number in (config.bos_token_id, config.eos_token_id, config.pad_token_id)
    )
    special_ids = [(start, config.bos_token_id), (end, config.eos_token_id)]
    backend.post_processor = TemplateProcessing(single=f"{start} $A {end}", special_tokens=special_ids)
    return PreTrainedTokenizerFast(tokenizer_object=backend, bos_token=start, eos_token=end, pad_token=pad)


def _pieces(name: str, value: Tensor) -> dict[str, Tensor]:
    """A tensor as kept weights and bits, or whole where that is no larger."""
    value = value.detach().cpu().contiguous()
    keep = value != 0
    kept_bytes = int(keep.sum()) * value.element_size()
    if kept_bytes + value.numel() / 8 < value.numel() * value.element_size():
        return {name + KEPT: value[keep], name + MASK: pack_bits(keep)}
    return {name: value}


def _restored(file: Any, name: str, shape: torch.Size) -> Tensor:
    if name + MASK not in file.keys():  # noqa: SIM118 (the file is no dictionary)
        whole: Tensor = file.get_tensor(name)
        return whole
    kept: Tensor = file.get_tensor(name + KEPT)
    value = torch.zeros(shape, dtype=kept.dtype)
    value[unpack_bits(file.get_tensor(name + MASK), shape)] = kept
    return value
