"""The Transformers of the paper: exact counts, exact file sizes, one tied embedding, the stated initialisation."""

import io
from collections.abc import Callable

import pytest
import torch
from torch import nn

from sparsity.models.transformer import transformer

SIZES = {
    "wmt14": (dict(num_layers=6, width=512, ffn_width=2048, num_heads=8, dropout=0.1), 61_575_168, 246.5),
    "taskmaster1": (dict(num_layers=2, width=256, ffn_width=256, num_heads=4, dropout=0.2), 10_828_800, 43.5),
}
TINY = dict(vocabulary_size=40, num_layers=1, width=8, ffn_width=16, num_heads=2, dropout=0.1)


def written_bytes(model: nn.Module) -> int:
    file = io.BytesIO()
    torch.save(model.state_dict(), file)
    return len(file.getvalue())


@pytest.mark.parametrize("name", SIZES)
def test_parameters_and_file_have_the_size_of_the_paper(name: str) -> None:
    sizes, num_parameters, megabytes = SIZES[name]
    model = transformer(vocabulary_size=32_000, **sizes)
    assert sum(p.numel() for p in model.parameters() if p.requires_grad) == num_parameters
    assert written_bytes(model) / 1e6 == pytest.approx(megabytes, abs=0.1)


def test_what_no_count_tells_is_as_in_the_authors_code() -> None:
    config = transformer(**TINY).config
    assert (config.activation_function, config.scale_embedding) == ("relu", True)
    assert (config.dropout, config.attention_dropout, config.activation_dropout) == (0.1, 0.0, 0.0)
    assert config.encoder_attention_heads == config.decoder_attention_heads == TINY["num_heads"]


def test_the_tied_embedding_is_listed_once() -> None:
    model = transformer(**TINY)
    vocabulary_tables = [name for name, p in model.named_parameters() if p.shape[0] == TINY["vocabulary_size"]]
    assert vocabulary_tables == ["model.shared.weight"]
    tied = (model.lm_head.weight, model.model.encoder.embed_tokens.weight, model.model.decoder.embed_tokens.weight)
    assert all(weight is model.model.shared.weight for weight in tied)


@pytest.mark.parametrize("select", [lambda m: m.model.shared, lambda m: m.model.encoder.layers[0].fc1])
def test_matrices_are_drawn_xavier_uniform(select: Callable[[nn.Module], nn.Module]) -> None:
    weight = select(transformer(**TINY)).get_parameter("weight")
    bound = (6 / (weight.shape[0] + weight.shape[1])) ** 0.5
    assert 0.9 * bound < float(weight.detach().abs().max()) <= bound


def test_equal_seeds_give_equal_networks() -> None:
    torch.manual_seed(3)
    first = transformer(**TINY).state_dict()
    torch.manual_seed(3)
    assert all(torch.equal(value, first[name]) for name, value in transformer(**TINY).state_dict().items())


def test_generation_starts_with_bos_and_forces_no_token() -> None:
    generation = transformer(**TINY).generation_config
    assert (generation.decoder_start_token_id, generation.eos_token_id, generation.pad_token_id) == (0, 2, 1)
    assert (generation.forced_bos_token_id, generation.forced_eos_token_id) == (None, None)


def test_attention_is_torchs_fused_one() -> None:
    assert transformer(**TINY).config._attn_implementation == "sdpa"


def test_a_width_that_heads_cannot_share_is_refused() -> None:
    with pytest.raises(ValueError, match=r"model.width is 9, but it must be a multiple of model.num_heads=2"):
        transformer(**TINY | {"width": 9})
