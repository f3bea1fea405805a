"""A BART small enough for a test: built offline, wide enough in its scores that no two hypotheses nearly tie."""

import copy
import functools
from typing import Any, NamedTuple

import torch
from torch import Tensor
from transformers import BartConfig, BartForConditionalGeneration

from sparsity.special_tokens import IGNORED
from sparsity.training.translation import Translation

BOS, PAD, EOS = 0, 1, 2
VOCABULARY = 60


def tiny_bart(seed: int = 0, **changes: object) -> BartForConditionalGeneration:
    """Two layers a side, width 32, four heads, random weights; `changes` go to its configuration."""
    settings = {
        "vocab_size": VOCABULARY,
        "d_model": 32,
        "encoder_layers": 2,
        "decoder_layers": 2,
        "encoder_attention_heads": 4,
        "decoder_attention_heads": 4,
        "encoder_ffn_dim": 48,
        "decoder_ffn_dim": 40,
        "max_position_embeddings": 320,
        "activation_function": "relu",
        "dropout": 0.1,
        "scale_embedding": True,
        "init_std": 0.3,
        "pad_token_id": PAD,
        "bos_token_id": BOS,
        "eos_token_id": EOS,
        "decoder_start_token_id": BOS,
        "forced_eos_token_id": None,
    }
    with torch.random.fork_rng():
        model = BartForConditionalGeneration(BartConfig(**settings | changes))
    _draw(model, seed, model.config.init_std)
    return model.eval()


@torch.no_grad()
def _draw(model: BartForConditionalGeneration, seed: int, std: Any) -> None:
    """Weights that are the same bits on every processor: torch's normal numbers differ with its instructions."""
    generator, width = torch.Generator().manual_seed(seed), 12**0.5 * std
    for weight in model.parameters():
        if weight.dim() == 2:  # biases are zero and norms one
            weight.copy_((torch.rand(weight.shape, generator=generator) - 0.5) * width)
    model.model.shared.weight[PAD] = 0


def sources(num_sentences: int, longest: int = 12, seed: int = 0) -> tuple[Tensor, Tensor]:
    """(input ids, attention mask), both [N, S]: random sentences of different lengths, ended and padded."""
    generator = torch.Generator().manual_seed(seed)
    lengths = torch.randint(2, longest + 1, (num_sentences,), generator=generator)
    ids = torch.randint(EOS + 1, VOCABULARY, (num_sentences, int(lengths.max())), generator=generator)
    positions = torch.arange(ids.shape[1])
    ids[positions == lengths[:, None] - 1] = EOS
    mask = (positions < lengths[:, None]).long()
    return ids.masked_fill(mask == 0, PAD), mask


@functools.cache
def copier(dtype: torch.dtype = torch.float64) -> BartForConditionalGeneration:
    """A tiny BART taught for a moment to repeat its source: its texts end, early and late, and are partly wrong.

    Taught in float64, so that it is the same network on every processor: in float32 rounding would lead it elsewhere.
    """
    if dtype != torch.float64:
        return copy.deepcopy(copier()).to(dtype)
    model, task = tiny_bart(init_std=0.1, dropout=0.0).double(), Translation()
    optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)
    for step in range(150):
        optimizer.zero_grad()
        task.forward(model, pairs(*sources(32, longest=20, seed=1000 + step)))[0].backward()
        optimizer.step()
    return model


class Pairs(NamedTuple):
    """A batch of pairs."""

    input_ids: Tensor
    attention_mask: Tensor
    labels: Tensor
    decoder_input_ids: Tensor
    counted: Tensor


def pairs(ids: Tensor, mask: Tensor) -> Pairs:
    """Sources that are to be repeated; the target's padding is ignored."""
    labels = ids.masked_fill(mask == 0, IGNORED)
    start = torch.full((len(ids), 1), BOS)
    counted = (labels != IGNORED).flatten().nonzero()[:, 0]
    return Pairs(ids, mask, labels, torch.cat([start, ids[:, :-1]], 1), counted)
