"""A BART decoder run token by token, with keys and values kept.

The network is Hugging Face's; what differs from its own `forward` with a cache is where the time goes: keys and values
of the encoder's output are computed once per sentence and read by all of its beams (never copied per beam, never
reordered), the three projections of self-attention are one product, and the cache grows by blocks, so that shapes
change every `BLOCK` tokens only. Everything a step needs lies on the device, and the host, which counts the positions,
reads nothing.

Shapes: B sentences, K beams, S source positions, W cached target positions, H heads, D = width / H, V tokens.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

if TYPE_CHECKING:
    from transformers import BartForConditionalGeneration

BLOCK = 16


@dataclass(frozen=True)
class _Linear:
    weight: Tensor
    bias: Tensor

    def __call__(self, inputs: Tensor) -> Tensor:
        return F.linear(inputs.to(self.weight.dtype), self.weight, self.bias)


@dataclass(frozen=True)
class _Norm:
    weight: Tensor
    bias: Tensor
    eps: float

    def __call__(self, inputs: Tensor) -> Tensor:
        return F.layer_norm(inputs.to(self.weight.dtype), self.weight.shape, self.weight, self.bias, self.eps)


@dataclass(frozen=True)
class _Layer:
    """One layer's weights, its projections joined where they read the same input."""

    self_qkv: _Linear
    self_out: _Linear
    self_norm: _Norm
    cross_q: _Linear
    cross_kv: _Linear
    cross_out: _Linear
    cross_norm: _Norm
    fc1: _Linear
    fc2: _Linear
    ffn_norm: _Norm


class DecoderWeights:
    """The decoder's weights as they stand now, in the precision of the surrounding autocast, ready for many sentences.

    Products run in that precision, or in the model's own; residual sums and layer norms in the model's own, as under
    autocast; scores in fp32, as in `generate`.

    Args:
        model: a `BartForConditionalGeneration` (post-norm layers, learned positions).
    """

    @torch.no_grad()
    def __init__(self, model: "BartForConditionalGeneration") -> None:
        decoder, config = model.model.decoder, model.config
        device = model.lm_head.weight.device
        self.dtype = _autocast_dtype(device) or model.lm_head.weight.dtype
        self.num_heads: int = decoder.layers[0].self_attn.num_heads
        self.max_positions: int = config.max_position_embeddings
        self.activation = decoder.layers[0].activation_fn
        self.embed_scale = float(decoder.embed_tokens.embed_scale)
        self.tokens = decoder.embed_tokens.weight
        self.positions = decoder.embed_positions.weight[decoder.embed_positions.offset :]
        self.embedding_norm = _norm(decoder.layernorm_embedding)
        self.layers = [self._layer(layer) for layer in decoder.layers]
        self.head = _Linear(model.lm_head.weight.to(self.dtype), model.final_logits_bias[0].to(self.dtype))

    def _layer(self, layer: Any) -> _Layer:
        attention, cross = layer.self_attn, layer.encoder_attn
        return _Layer(
            self_qkv=self._joined(attention.q_proj, attention.k_proj, attention.v_proj),
            self_out=self._joined(attention.out_proj),
            self_norm=_norm(layer.self_attn_layer_norm),
            cross_q=self._joined(cross.q_proj),
            cross_kv=self._joined(cross.k_proj, cross.v_proj),
            cross_out=self._joined(cross.out_proj),
            cross_norm=_norm(layer.encoder_attn_layer_norm),
            fc1=self._joined(layer.fc1),
            fc2=self._joined(layer.fc2),
            ffn_norm=_norm(layer.final_layer_norm),
        )

    def _joined(self, *linears: nn.Linear) -> _Linear:
        weight = torch.cat([linear.weight for linear in linears]).to(self.dtype)
        if weight.device.type == "cpu":  # where few rows are multiplied faster by what lies transposed
            weight = weight.t().contiguous().t()
        return _Linear(weight, torch.cat([linear.bias for linear in linears]).to(self.dtype))


class IncrementalDecoder:
    """The decoder at work on B sentences with K beams each; `step` is called once per token.

    Args:
        weights: of the decoder.
        encoded: the encoder's output, [B, S, width].
        attention_mask: 1 where the source has a token, [B, S].
        num_beams: K.
    """

    def __init__(self, weights: DecoderWeights, encoded: Tensor, attention_mask: Tensor, num_beams: int) -> None:
        self._weights, self._num_beams = weights, num_beams
        self._num_positions = 0
        self._source_mask = attention_mask.bool()[:, None, None, :]  # [B, 1, 1, S]
        self._source = [self._heads(layer.cross_kv(encoded), 2) for layer in weights.layers]  # each [2, B, H, S, D]
        rows, width = len(encoded) * num_beams, encoded.shape[2]
        shape = (
            rows,
            len(weights.layers),
            2,
            weights.num_heads,
            0,
            width // weights.num_heads,
        )  # a beam's past lies together
        self._cache = torch.empty(shape, dtype=weights.dtype, device=encoded.device)
        self._spare = torch.empty_like(self._cache)

    def step(self, tokens: Tensor, parents: Tensor) -> Tensor:
        """Scores of all next tokens, fp32 [B * K, V], before any softmax.

        Args:
            tokens: the last token of each beam, [B * K].
            parents: which beam's past each beam goes on from, rows of the last call, [B * K].
        """
        torch.index_select(self._cache, 0, parents, out=self._spare)  # two buffers by turns: no allocation per token
        self._cache, self._spare = self._spare, self._cache
        if self._num_positions == self._cache.shape[4]:
            del self._spare  # so that there are never three
            self._cache = F.pad(self._cache, (0, 0, 0, BLOCK))
            self._spare = torch.empty_like(self._cache)
        weights = self._weights
        hidden = weights.tokens[tokens] * weights.embed_scale + weights.positions[self._num_positions]
        hidden = weights.embedding_norm(hidden)
        is_past = torch.arange(self._cache.shape[4], device=hidden.device) <= self._num_positions
        for layer, cache, source in zip(weights.layers, self._cache.unbind(1), self._source, strict=True):
            hidden = self._layer(layer, hidden, cache, source, is_past)
        self._num_positions += 1
        return weights.head(hidden).float()

    def keep(self, sentences: Tensor) -> None:
        """Go on with these sentences only.

        Args:
            sentences: rows among the B of now, [B'].
        """
        self._source_mask = self._source_mask[sentences]
        self._source = [source.index_select(1, sentences) for source in self._source]
        beams = torch.arange(self._num_beams, device=sentences.device)
        del self._spare
        self._cache = self._cache.index_select(0, (sentences[:, None] * self._num_beams + beams).flatten())
        self._spare = torch.empty_like(self._cache)

    def _layer(self, layer: _Layer, hidden: Tensor, cache: Tensor, source: Tensor, is_past: Tensor) -> Tensor:
        attended = self._attend_to_past(layer, hidden, cache, is_past)
        hidden = layer.self_norm(hidden + layer.self_out(attended))
        hidden = layer.cross_norm(hidden + layer.cross_out(self._attend_to_source(layer, hidden, source)))
        return layer.ffn_norm(hidden + layer.fc2(self._weights.activation(layer.fc1(hidden))))

    def _attend_to_past(self, layer: _Layer, hidden: Tensor, cache: Tensor, is_past: Tensor) -> Tensor:
        query, key, value = self._heads(layer.self_qkv(hidden)[:, None], 3)  # each [B * K, H, 1, D]
        keys, values = cache.unbind(1)
        here = slice(self._num_positions, self._num_positions + 1)
        keys[:, :, here], values[:, :, here] = key, value  # where index_copy_ sorts, under deterministic algorithms
        attended = F.scaled_dot_product_attention(query, keys, values, attn_mask=is_past[None, None, None])
        return attended.flatten(1)

    def _attend_to_source(self, layer: _Layer, hidden: Tensor, source: Tensor) -> Tensor:
        """The beams of a sentence are queries of one attention over its source."""
        queries = self._heads(layer.cross_q(hidden).unflatten(0, (-1, self._num_beams)), 1)[0]  # [B, H, K, D]
        attended = F.scaled_dot_product_attention(queries, source[0], source[1], attn_mask=self._source_mask)
        return attended.transpose(1, 2).flatten(2).flatten(0, 1)

    def _heads(self, joined: Tensor, num_parts: int) -> Tensor:
        """[N, T, parts * width] as [parts, N, H, T, D]."""
        return joined.unflatten(2, (num_parts, self._weights.num_heads, -1)).permute(2, 0, 3, 1, 4).contiguous()


def _norm(module: nn.LayerNorm) -> _Norm:
    return _Norm(module.weight, module.bias, module.eps)


def _autocast_dtype(device: torch.device) -> torch.dtype | None:
    return torch.get_autocast_dtype(device.type) if torch.is_autocast_enabled(device.type) else None
