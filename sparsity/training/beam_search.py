"""Batched beam search, which gives the same text as Hugging Face's `generate`.

The rules are those of `generate(num_beams=K, length_penalty=p, max_length=L, early_stopping=False)`:

- a hypothesis' score is the sum of its tokens' log-probabilities, divided by n ** p once it has ended, n counting all
  tokens behind the start token, the end token included;
- each step looks at the 2 K best continuations of a sentence; those among the first K that end are candidates for the K
  best finished hypotheses, the K best that do not end go on;
- L counts the start token; whatever runs at L ends there;
- a sentence is done when K hypotheses have finished and its best running one, divided by its own length of now ** p,
  does not beat the worst of them.

What is done never changes, so such sentences leave the batch, and a straggler does not hold up the rest. The host looks
every `CHECK_EVERY` tokens; between two looks it asks the device for nothing.

Shapes: B sentences, K beams, L positions, V tokens, N rows.
"""

from dataclasses import dataclass, fields, replace

import torch
from torch import Tensor

from sparsity.training.incremental_decoder import DecoderWeights, IncrementalDecoder

CHECK_EVERY = 8
NEVER = -1.0e9
GROUP = 128  # tokens


@dataclass(frozen=True)
class Search:
    """How to search.

    Args:
        num_beams: K, at least 1.
        length_penalty: the exponent p; above 0 long hypotheses are favoured.
        max_length: L, in tokens, the start token included.
        start_id, end_id, pad_id: the vocabulary's special tokens.
        forced: position -> the only token allowed there; position 0 holds the start token.
    """

    num_beams: int
    length_penalty: float
    max_length: int
    start_id: int
    end_id: int
    pad_id: int
    forced: tuple[tuple[int, int], ...] = ()

    def __post_init__(self) -> None:
        if self.num_beams < 1 or self.max_length < 2:
            raise ValueError(
                f"A beam search with num_beams={self.num_beams} and max_length={self.max_length} is not possible; "
                "take at least 1 beam and 2 tokens."
            )


@dataclass(frozen=True)
class _State:
    """What is known about the sentences still searched; every field has them as its first dimension.

    `rows`: [B] where they stand in the batch. Running hypotheses: `tokens` [B, K, L], `scores` [B, K], best first.
    Ended ones: `ended_tokens` [B, K, L], `ended_scores` [B, K], best first, `NEVER` where there is none.
    `is_open`: [B] whether the running ones may still win.
    """

    rows: Tensor
    tokens: Tensor
    scores: Tensor
    ended_tokens: Tensor
    ended_scores: Tensor
    is_open: Tensor

    def take(self, sentences: Tensor) -> "_State":
        """The same of some sentences."""
        return _State(*(getattr(self, field.name)[sentences] for field in fields(self)))


@torch.no_grad()
def beam_search(weights: DecoderWeights, encoded: Tensor, attention_mask: Tensor, search: Search) -> Tensor:
    """The best hypothesis of each sentence, start token first, padded: int64 [B, L].

    Args:
        weights: of the decoder.
        encoded: the encoder's output, [B, S, width].
        attention_mask: 1 where the source has a token, [B, S].
        search: how to search.

    Raises:
        ValueError: if the model has fewer positions than `search.max_length`.
    """
    if search.max_length > weights.max_positions:
        raise ValueError(
            f"max_length={search.max_length} is beyond the model's {weights.max_positions} positions; lower it."
        )
    decoder = IncrementalDecoder(weights, encoded, attention_mask, search.num_beams)
    state = _start(len(encoded), search, encoded.device)
    best = state.tokens[:, 0].clone()
    parents = torch.arange(len(encoded) * search.num_beams, device=encoded.device)
    for length in range(1, search.max_length):
        logits = decoder.step(state.tokens[:, :, length - 1].flatten(), parents)
        state, parents = _advance(state, _forced(logits, length, search), length, search)
        if length % CHECK_EVERY == 0:
            state, parents = _leave(state, parents, decoder, best)
        if len(state.rows) == 0:
            break
    best[state.rows] = state.ended_tokens[:, 0]
    return best


def _start(num_sentences: int, search: Search, device: torch.device) -> _State:
    """Only the first beam counts at first, so that the beams do not all say the same."""
    shape = (num_sentences, search.num_beams)
    tokens = torch.full((*shape, search.max_length), search.pad_id, device=device)
    tokens[:, :, 0] = search.start_id
    scores = torch.full(shape, NEVER, device=device)
    scores[:, 0] = 0
    return _State(
        rows=torch.arange(num_sentences, device=device),
        tokens=tokens,
        scores=scores,
        ended_tokens=tokens.clone(),
        ended_scores=torch.full(shape, NEVER, device=device),
        is_open=torch.ones(num_sentences, dtype=torch.bool, device=device),
    )


def _advance(state: _State, logits: Tensor, length: int, search: Search) -> tuple[_State, Tensor]:
    """One more token, at position `length`: the new state, and each running beam's parent as a row of [B * K].

    Overwrites `logits`.
    """
    scores, parents, tokens = _continuations(state, logits, length)
    is_ending = tokens[:, :, length] == search.end_id
    if length == search.max_length - 1:
        is_ending = torch.ones_like(is_ending)
    state = _finish(state, scores, tokens, is_ending, length**search.length_penalty)
    running_scores, order = (scores + NEVER * is_ending).topk(search.num_beams)
    could_win = running_scores[:, 0] / length**search.length_penalty > state.ended_scores[:, -1]
    state = replace(state, tokens=_pick(tokens, order), scores=running_scores, is_open=state.is_open & could_win)
    offsets = torch.arange(len(order), device=order.device)[:, None] * search.num_beams
    return state, (parents.gather(1, order) + offsets).flatten()


def _continuations(state: _State, logits: Tensor, length: int) -> tuple[Tensor, Tensor, Tensor]:
    """The 2 K best continuations of each sentence, best first: scores and parent beams [B, 2 K], tokens [B, 2 K, L]."""
    num_sentences, num_beams = state.scores.shape
    num_best = 2 * num_beams
    # the best of a sentence are among the best of its beams
    best, ids = _best(torch.log_softmax(logits, 1, out=logits), num_best)
    totals = (state.scores[:, :, None] + best.view(num_sentences, num_beams, -1)).flatten(1)
    scores, places = totals.topk(num_best)
    parents = places // best.shape[1]
    tokens = _pick(state.tokens, parents)
    tokens[:, :, length] = ids.view(num_sentences, -1).gather(1, places)
    return scores, parents, tokens


def _best(scores: Tensor, number: int) -> tuple[Tensor, Tensor]:
    """The largest of each row [N, V], best first, and where they stand, both [N, number], or [N, V] where V is less.

    They lie in the groups of tokens whose maxima are the largest, and to look there takes a third of the time.
    """
    num_groups, rest = divmod(scores.shape[1], GROUP)
    if rest or num_groups < number:
        values, places = scores.topk(min(number, scores.shape[1]))
        return values, places
    groups = scores.unflatten(1, (num_groups, GROUP))
    chosen = groups.amax(2).topk(number).indices
    values, places = groups.take_along_dim(chosen[:, :, None], 1).flatten(1).topk(number)
    return values, chosen.gather(1, places // GROUP) * GROUP + places % GROUP


def _finish(state: _State, scores: Tensor, tokens: Tensor, is_ending: Tensor, divisor: float) -> _State:
    """Put the continuations that end among the first K into the K best that have ended, if the sentence is open."""
    num_beams = state.scores.shape[1]
    is_candidate = is_ending & state.is_open[:, None]
    is_candidate[:, num_beams:] = False
    final_scores = torch.where(is_candidate, scores / divisor, NEVER)
    ended_scores, order = torch.cat([state.ended_scores, final_scores], 1).topk(num_beams)
    ended_tokens = _pick(torch.cat([state.ended_tokens, tokens], 1), order)
    return replace(state, ended_scores=ended_scores, ended_tokens=ended_tokens)


def _leave(state: _State, parents: Tensor, decoder: IncrementalDecoder, best: Tensor) -> tuple[_State, Tensor]:
    """Write down what is done and go on with the rest, if any is done. The one place where the host asks the device."""
    open_sentences = state.is_open.nonzero()[:, 0]
    if len(open_sentences) == len(state.rows):
        return state, parents
    best[state.rows] = state.ended_tokens[:, 0]
    num_beams = state.scores.shape[1]
    rest = state.take(open_sentences)
    decoder.keep(open_sentences)
    within = parents.view(-1, num_beams)[open_sentences] % num_beams
    offsets = torch.arange(len(open_sentences), device=parents.device)[:, None] * num_beams
    return rest, (within + offsets).flatten()


def _forced(logits: Tensor, length: int, search: Search) -> Tensor:
    """Where a token is forced, it is certain."""
    token = dict(search.forced).get(length)
    if token is None:
        return logits
    certain = torch.full_like(logits, -torch.inf)
    certain[:, token] = 0
    return certain


def _pick(tokens: Tensor, order: Tensor) -> Tensor:
    """Hypotheses [B, N, L] in another order [B, M]."""
    return tokens.take_along_dim(order[:, :, None], 1)
