"""The Transformer: an encoder-decoder of transformers' BART classes, built from numbers, never from the hub."""

from typing import TYPE_CHECKING

from torch import nn

from sparsity.special_tokens import BOS_ID, EOS_ID, PAD_ID

if TYPE_CHECKING:
    from transformers import BartForConditionalGeneration


def transformer(
    vocabulary_size: int, num_layers: int, width: int, ffn_width: int, num_heads: int, dropout: float
) -> "BartForConditionalGeneration":
    """A network with freshly drawn weights: Xavier-uniform matrices, one embedding for encoder, decoder and head.

    With the sizes of Table 8 it has the paper's 61,575,168 (WMT14) and 10,828,800 (Taskmaster-1) parameters, and its
    saved state_dict the paper's 246.5 MB and 43.5 MB. The tied embedding is one tensor: `named_parameters()` gives it
    once, as `model.shared.weight`.

    Args:
        vocabulary_size: of the joint vocabulary, special tokens included.
        num_layers: of the encoder, and of the decoder.
        width: of the embedding and of all layers between.
        ffn_width: hidden units of a feed-forward block.
        num_heads: of each attention.
        dropout: probability at embeddings, attention outputs and feed-forward outputs, in [0, 1).

    Raises:
        ValueError: if `width` is no multiple of `num_heads`.

    Source: the paper's Table 8; positions, activation, scaling and initialisation as in the authors' code.
    """
    if width % num_heads:
        raise ValueError(f"model.width is {width}, but it must be a multiple of model.num_heads={num_heads}.")
    from transformers import (  # seconds that others do not pay
        BartConfig,
        BartForConditionalGeneration,
        GenerationConfig,
    )

    config = BartConfig(
        vocab_size=vocabulary_size,
        max_position_embeddings=1024,
        encoder_layers=num_layers,
        decoder_layers=num_layers,
        d_model=width,
        encoder_ffn_dim=ffn_width,
        decoder_ffn_dim=ffn_width,
        encoder_attention_heads=num_heads,
        decoder_attention_heads=num_heads,
        dropout=dropout,
        activation_function="relu",
        scale_embedding=True,
        bos_token_id=BOS_ID,
        pad_token_id=PAD_ID,
        eos_token_id=EOS_ID,
        decoder_start_token_id=BOS_ID,
        forced_eos_token_id=None,
    )
    model = BartForConditionalGeneration(config)
    model.set_attn_implementation("sdpa")
    # nothing is forced here: the one token that protocol.bos_twice forces is the search's
    model.generation_config = GenerationConfig(
        bos_token_id=BOS_ID, pad_token_id=PAD_ID, eos_token_id=EOS_ID, decoder_start_token_id=BOS_ID
    )
    for parameter in model.parameters():
        if parameter.dim() > 1:
            nn.init.xavier_uniform_(parameter)
    return model
