"""An epoch's batches hold pairs of similar length, each pair at most once, in an order that the seed decides."""

from collections.abc import Callable

import numpy as np
import pytest

from sparsity.data.texts.sentence_order import ORDERS, EpochOrder, by_sentences, by_tokens

RANDOM = np.random.default_rng(0)
LENGTHS = (RANDOM.integers(3, 60, 1000), RANDOM.integers(3, 60, 1000))
Order = Callable[..., EpochOrder]


def batches(order: EpochOrder) -> list[list[int]]:
    return [order.batch(step).tolist() for step in range(len(order))]


def spread(lengths: np.ndarray, order: EpochOrder) -> float:
    """Mean difference between the longest and the shortest of a batch."""
    return float(np.mean([np.ptp(lengths[order.batch(step)]) for step in range(len(order))]))


@pytest.mark.parametrize("order_of", ORDERS.values(), ids=ORDERS)
def test_no_pair_comes_twice_in_an_epoch(order_of: Order) -> None:
    drawn = [index for batch in batches(order_of(LENGTHS, 7, 0, "regularise", 0)) for index in batch]
    assert len(drawn) == len(set(drawn))


@pytest.mark.parametrize("order_of", ORDERS.values(), ids=ORDERS)
def test_both_kinds_give_as_many_batches_as_fit(order_of: Order) -> None:
    assert len(order_of(LENGTHS, 7, 0, "regularise", 0)) == 1000 // 7


@pytest.mark.parametrize("order_of", ORDERS.values(), ids=ORDERS)
def test_the_order_is_a_function_of_seed_kind_and_epoch(order_of: Order) -> None:
    first = batches(order_of(LENGTHS, 7, 0, "regularise", 0))
    assert batches(order_of(LENGTHS, 7, 0, "regularise", 0)) == first
    for other in ((1, "regularise", 0), (0, "finetune", 0), (0, "regularise", 1)):
        assert batches(order_of(LENGTHS, 7, *other)) != first


@pytest.mark.parametrize("order_of", ORDERS.values(), ids=ORDERS)
def test_batches_do_not_come_sorted_by_length(order_of: Order) -> None:
    order = order_of(LENGTHS, 7, 0, "regularise", 0)
    means = np.array([LENGTHS[0][order.batch(step)].mean() for step in range(len(order))])
    assert abs(np.corrcoef(means, np.arange(len(means)))[0, 1]) < 0.3


def test_a_batch_by_sentences_has_its_number_of_pairs() -> None:
    assert {len(batch) for batch in batches(by_sentences(LENGTHS, 7, 0, "regularise", 0))} == {7}


@pytest.mark.parametrize(("order_of", "first"), [(by_sentences, [980, 80, 130]), (by_tokens, [67, 317, 267])])
def test_the_order_is_the_recorded_one(order_of: Order, first: list[int]) -> None:
    lengths = np.arange(1000) % 50
    assert order_of((lengths, lengths[::-1]), 3, 0, "regularise", 0).batch(0).tolist() == first


@pytest.mark.parametrize("side", [0, 1])
def test_pairs_of_a_batch_have_similar_lengths(side: int) -> None:
    shuffled = EpochOrder(RANDOM.permutation(1000), np.arange(0, 994, 7), np.arange(7, 1001, 7))
    assert spread(LENGTHS[side], by_sentences(LENGTHS, 7, 0, "regularise", 0)) < 0.7 * spread(LENGTHS[side], shuffled)


def test_the_pairs_left_out_differ_from_epoch_to_epoch() -> None:
    left_out = [
        set(range(1000))
        - {index for batch in batches(by_sentences(LENGTHS, 7, 0, "regularise", epoch)) for index in batch}
        for epoch in range(2)
    ]
    assert left_out[0] != left_out[1]


def test_by_tokens_every_pair_comes() -> None:
    drawn = [index for batch in batches(by_tokens(LENGTHS, 7, 0, "regularise", 0)) for index in batch]
    assert sorted(drawn) == list(range(1000))


def test_batches_by_tokens_hold_about_the_same_number_of_tokens() -> None:
    order = by_tokens(LENGTHS, 20, 0, "regularise", 0)
    tokens = [sum(side[order.batch(step)].sum() for side in LENGTHS) for step in range(len(order))]
    assert max(tokens) - min(tokens) <= 2 * (60 + 60)


def test_no_batch_by_tokens_is_empty_however_long_one_pair_is() -> None:
    lengths = np.array([1, 1, 1, 1000, 1, 1, 1, 1])
    assert min(len(batch) for batch in batches(by_tokens((lengths, lengths), 2, 0, "regularise", 0))) >= 1
