"""Does our beam search write, token for token, what Hugging Face's `generate` writes?

Both run in float64 and round the scores of the next tokens to float32: what they are compared by is the same, bit by
bit, on every processor. In float32 two hypotheses that nearly tie would be told apart by rounding.
"""

from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import BartForConditionalGeneration

from sparsity.training import beam_search as module
from sparsity.training.beam_search import Search, beam_search
from sparsity.training.incremental_decoder import DecoderWeights, IncrementalDecoder
from tests.recorded_graph import Recorder
from tests.training.tiny_bart import BOS, EOS, PAD, copier, sources, tiny_bart

Ids = list[list[int]]


def ours(model: BartForConditionalGeneration, ids: Tensor, mask: Tensor, search: Search) -> Ids:
    with torch.no_grad():
        encoded = model.model.encoder(input_ids=ids, attention_mask=mask).last_hidden_state
    return trimmed(beam_search(DecoderWeights(model), encoded, mask, search))


def theirs(model: Any, ids: Tensor, mask: Tensor, search: Search, **changes: object) -> Ids:
    settings = {
        "num_beams": search.num_beams,
        "length_penalty": search.length_penalty,
        "max_length": search.max_length,
        "early_stopping": False,
        "do_sample": False,
        "forced_bos_token_id": None,
    }
    return trimmed(model.generate(input_ids=ids, attention_mask=mask, **settings | changes))


def trimmed(batch: Tensor) -> Ids:
    """Without the padding at the end."""
    rows = batch.tolist()
    for row in rows:
        while row[-1] == PAD:
            row.pop()
    return rows


def search(num_beams: int, length_penalty: float, max_length: int, **changes: object) -> Search:
    return Search(num_beams, length_penalty, max_length, BOS, EOS, PAD, **changes)


@pytest.mark.parametrize(
    ("num_beams", "penalty", "longest"), [(4, 0.6, 304), (6, 1.2, 200), (1, 1.0, 30), (3, -1.0, 30), (5, 0.0, 7)]
)
def test_a_trained_model_gives_the_same_tokens(num_beams: int, penalty: float, longest: int) -> None:
    model, how = copier(), search(num_beams, penalty, longest)
    ids, mask = sources(24, longest=20)
    written = ours(model, ids, mask, how)
    assert written == theirs(model, ids, mask, how)
    assert len({len(line) for line in written}) > min(4, longest // 2), "the sentences should end at different places"


@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize("end_bias", [0.0, 3.0, 6.0])
@pytest.mark.parametrize(("num_beams", "penalty"), [(4, 0.6), (6, 1.2), (2, -1.0), (3, 3.0)])
def test_random_models_give_the_same_tokens(seed: int, end_bias: float, num_beams: int, penalty: float) -> None:
    model, how = tiny_bart(seed).double(), search(num_beams, penalty, 40)
    model.final_logits_bias[0, EOS] = end_bias
    ids, mask = sources(20, seed=seed)
    assert ours(model, ids, mask, how) == theirs(model, ids, mask, how)


def test_a_forced_first_token_is_written_before_all_others() -> None:
    ids, mask = sources(10)
    written = ours(copier(), ids, mask, search(4, 0.6, 30, forced=((1, BOS),)))
    assert written == theirs(copier(), ids, mask, search(4, 0.6, 30), forced_bos_token_id=BOS)
    assert all(line[:2] == [BOS, BOS] for line in written)


def test_a_forced_end_closes_what_reaches_the_limit() -> None:
    ids, mask = sources(10)
    model = tiny_bart().double()
    written = ours(model, ids, mask, search(4, 0.6, 12, forced=((11, EOS),)))
    assert written == theirs(model, ids, mask, search(4, 0.6, 12), forced_eos_token_id=EOS)
    assert all(len(line) == 12 and line[-1] == EOS for line in written)


def test_a_sentence_does_not_depend_on_its_neighbours() -> None:
    model, how = copier(), search(4, 0.6, 60)
    ids, mask = sources(12, longest=20)
    together = ours(model, ids, mask, how)
    assert together == [ours(model, ids[i : i + 1], mask[i : i + 1], how)[0] for i in range(12)]


@pytest.mark.parametrize("num_tokens", [10 * module.GROUP, 7 * module.GROUP, 10 * module.GROUP + 1])
def test_the_best_of_many_tokens_are_found_in_their_groups(num_tokens: int) -> None:
    scores = torch.randn(5, num_tokens, generator=torch.Generator().manual_seed(0))
    best, ids = module._best(scores, 8)
    expected = scores.topk(8)
    assert torch.equal(best, expected.values) and torch.equal(ids, expected.indices)


def test_few_groups_and_many_tokens_take_each_its_own_way() -> None:
    with Recorder() as recorder:
        module._best(torch.randn(5, 10 * module.GROUP), 8)
    widths = [operands[0].shape[1] for func, operands, *_ in recorder.operations if func._schema.name == "aten::topk"]
    assert widths == [10, 8 * module.GROUP]


def test_on_a_cpu_the_weights_of_the_layers_lie_transposed() -> None:
    assert DecoderWeights(tiny_bart()).layers[0].self_qkv.weight.t().is_contiguous()


def test_what_is_done_leaves_the_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = watched_sizes(monkeypatch)
    ids, mask = sources(24, longest=20)
    ours(copier(), ids, mask, search(4, 0.6, 100))
    assert sizes[0] == 24 and sizes[-1] < 24 and sizes == sorted(sizes, reverse=True)


def test_the_search_stops_when_the_last_sentence_is_done(monkeypatch: pytest.MonkeyPatch) -> None:
    ids, mask = sources(24, longest=20)
    written = ours(copier(), ids, mask, search(4, 0.6, 100))
    short = [row for row, line in enumerate(written) if len(line) < 20]
    sizes = watched_sizes(monkeypatch)
    ours(copier(), ids[short], mask[short], search(4, 0.6, 304))
    assert len(sizes) < 100


def test_a_token_is_put_into_its_place_without_sorting() -> None:
    """Under deterministic algorithms a GPU sorts the places that index_copy_ and index_put_ write to."""
    ids, mask = sources(3)
    weights = DecoderWeights(tiny_bart())
    decoder = IncrementalDecoder(weights, torch.zeros(*ids.shape, weights.positions.shape[1]), mask, num_beams=2)
    with torch.no_grad(), Recorder() as recorder:
        decoder.step(torch.full((6,), BOS), torch.arange(6))
    names = {func._schema.name for func, *_ in recorder.operations}
    assert "aten::copy_" in names and not names & {f"aten::{name}" for name in ("index_copy_", "index_put_", "sort")}


def watched_sizes(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The number of sentences searched at each token from now on."""
    sizes: list[int] = []
    advance = module._advance

    def watched(state: Any, *arguments: Any) -> Any:
        sizes.append(len(state.rows))
        return advance(state, *arguments)

    monkeypatch.setattr(module, "_advance", watched)
    return sizes


def test_under_autocast_the_products_of_the_search_are_in_its_precision() -> None:
    with torch.autocast("cpu", torch.bfloat16):
        weights = DecoderWeights(tiny_bart())
    assert weights.dtype == weights.layers[0].fc1.weight.dtype == torch.bfloat16
    assert weights.layers[0].ffn_norm.weight.dtype == torch.float32


def test_a_network_in_float64_is_searched_in_it() -> None:
    weights = DecoderWeights(tiny_bart().double())
    assert weights.dtype == weights.layers[0].fc1.weight.dtype == torch.float64


def test_what_the_search_writes_in_bfloat16_is_nearly_as_likely() -> None:
    model, how = copier(torch.float32), search(4, 0.6, 60)
    ids, mask = sources(20, longest=20)
    with torch.autocast("cpu", torch.bfloat16):
        low = ours(model, ids, mask, how)
    high = ours(model, ids, mask, how)
    losses = mean_surprise(model, ids, mask, low), mean_surprise(model, ids, mask, high)
    assert losses[0] == pytest.approx(losses[1], abs=0.05)  # of about one; of random tokens it is almost six


def mean_surprise(model: BartForConditionalGeneration, ids: Tensor, mask: Tensor, written: Ids) -> float:
    """The mean negative log-probability of a token of these texts."""
    texts = torch.nn.utils.rnn.pad_sequence([torch.tensor(line) for line in written], True, PAD)
    with torch.no_grad():
        logits = model(input_ids=ids, attention_mask=mask, decoder_input_ids=texts[:, :-1]).logits
    following = texts[:, 1:].masked_fill(texts[:, 1:] == PAD, -100)
    return float(torch.nn.functional.cross_entropy(logits.flatten(0, 1), following.flatten()))


def test_more_tokens_than_positions_are_refused() -> None:
    ids, mask = sources(1)
    with pytest.raises(ValueError, match="max_length=321 is beyond the model's 320 positions"):
        ours(tiny_bart(), ids, mask, search(4, 0.6, 321))


@pytest.mark.parametrize(("num_beams", "longest"), [(0, 10), (4, 1)])
def test_a_search_that_cannot_write_anything_is_refused(num_beams: int, longest: int) -> None:
    with pytest.raises(ValueError, match="take at least 1 beam and 2 tokens"):
        search(num_beams, 1.0, longest)
