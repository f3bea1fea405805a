"""Are just the smallest weights chosen, exactly as many as asked for, the same ones everywhere?"""

import math

import pytest
import torch
from torch import Tensor

from sparsity.pruning import selection
from sparsity.pruning.selection import (
    keep_largest,
    num_to_prune,
    select_by_column,
    select_smallest,
    select_within,
)

Named = dict[str, Tensor]


def all_kept(scores: Named) -> Named:
    return {name: torch.ones(score.shape, dtype=torch.bool) for name, score in scores.items()}


def reference(scores: Named, kept: Named, count: int) -> Named:
    """Sort all kept weights by (score, tensor, flat index) in Python and drop the first `count`."""
    order = sorted(
        (value, position, index)
        for position, (name, score) in enumerate(scores.items())
        for index, value in enumerate(score.flatten().tolist())
        if kept[name].flatten()[index]
    )
    masks = {name: keep.clone() for name, keep in kept.items()}
    names = list(scores)
    for _, position, index in order[:count]:
        mask = masks[names[position]]
        mask[torch.unravel_index(torch.tensor(index), mask.shape)] = False
    return masks


def random_case(seed: int, num_levels: int) -> tuple[Named, Named]:
    """Scores on a few levels, so that most are tied, and masks that have lost a third already."""
    generator = torch.Generator().manual_seed(seed)
    shapes = {"a": (5, 3), "b": (7,), "c": (2, 3, 4), "d": (1,)}
    scores = {name: torch.randint(num_levels, shape, generator=generator).float() for name, shape in shapes.items()}
    kept = {name: torch.rand(shape, generator=generator) > 0.33 for name, shape in shapes.items()}
    return scores, kept


@pytest.mark.parametrize("num_levels", [2, 6, 10**6])
@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("count", [0, 1, 13, "all"])
def test_the_selection_equals_a_sort_of_all_weights(num_levels: int, seed: int, count: int | str) -> None:
    scores, kept = random_case(seed, num_levels)
    number = int(sum(keep.sum() for keep in kept.values())) if count == "all" else int(count)
    found, expected = select_smallest(scores, kept, number), reference(scores, kept, number)
    assert all(torch.equal(found[name], expected[name]) for name in scores)


def test_the_threshold_is_global() -> None:
    scores = {"small": torch.tensor([0.1, 0.2, 0.3]), "large": torch.tensor([1.0, 2.0])}
    masks = select_smallest(scores, all_kept(scores), 3)
    assert masks["small"].tolist() == [False, False, False] and masks["large"].tolist() == [True, True]


def test_equal_scores_go_in_the_order_of_tensors_and_positions() -> None:
    scores = {"b": torch.ones(2, 2), "a": torch.ones(3)}
    masks = select_smallest(scores, all_kept(scores), 5)
    assert masks["b"].tolist() == [[False, False], [False, False]] and masks["a"].tolist() == [False, True, True]


def test_equal_scores_go_in_row_major_order_in_any_memory_layout() -> None:
    scores = {"w": torch.ones(2, 3, 2, 2).to(memory_format=torch.channels_last)}
    kept = {"w": torch.ones_like(scores["w"], dtype=torch.bool)}
    masks = select_smallest(scores, kept, 7)
    assert masks["w"].contiguous().flatten().tolist() == [False] * 7 + [True] * 17


def test_what_is_pruned_never_comes_back_although_its_score_is_high() -> None:
    scores, kept = {"w": torch.tensor([9.0, 1.0, 2.0])}, {"w": torch.tensor([False, True, True])}
    assert select_smallest(scores, kept, 1)["w"].tolist() == [False, False, True]


@pytest.mark.parametrize("count", [0, 1])
def test_the_given_masks_are_left_as_they_were(count: int) -> None:
    scores = {"w": torch.tensor([1.0, 2.0])}
    kept = all_kept(scores)
    select_smallest(scores, kept, count)["w"].zero_()
    assert kept["w"].tolist() == [True, True]


def test_more_than_are_left_is_refused() -> None:
    scores, kept = {"w": torch.ones(3)}, {"w": torch.tensor([True, False, True])}
    with pytest.raises(ValueError, match=r"Cannot prune 3 weights: only 2 are left\."):
        select_smallest(scores, kept, 3)


@pytest.mark.parametrize(
    ("num_kept", "fraction", "expected"),
    [(431_080, 0.04, 17_243), (100, 0.04, 4), (10, 0.04, 1), (1, 0.04, 1), (0, 0.04, 0), (10, 1.0, 10)],
)
def test_a_prune_removes_the_rounded_fraction_and_at_least_one(num_kept: int, fraction: float, expected: int) -> None:
    assert num_to_prune(num_kept, fraction) == expected


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize("seed", range(3))
def test_scores_of_every_float_type_and_size_are_ordered_to_the_last_bit(dtype: torch.dtype, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    scores = {name: torch.randn(40, generator=generator, dtype=torch.float64) for name in ("a", "b")}
    # neighbours that differ in the last bits only, over the whole range of the type
    scales = 10.0 ** torch.randint(-4, 4, (40,), generator=generator)
    scores = {name: ((1 + 1e-3 * score) * scales).abs().to(dtype) for name, score in scores.items()}
    found, expected = select_smallest(scores, all_kept(scores), 31), reference(scores, all_kept(scores), 31)
    assert all(torch.equal(found[name], expected[name]) for name in scores)


def test_the_selection_is_the_same_when_a_tensor_is_looked_at_in_many_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    scores, kept = random_case(0, 3)
    whole = select_smallest(scores, kept, 13)
    monkeypatch.setattr(selection, "CHUNK_SIZE", 2)
    chunked = select_smallest(scores, kept, 13)
    assert all(torch.equal(whole[name], chunked[name]) for name in scores)


def test_minus_zero_equals_zero() -> None:
    scores = {"w": torch.tensor([0.0, -0.0, 0.0, 1.0])}
    assert select_smallest(scores, all_kept(scores), 2)["w"].tolist() == [False, False, True, True]


def test_infinity_goes_after_every_number_and_nan_last() -> None:
    scores = {"w": torch.tensor([math.nan, math.inf, 3e38, 1.0])}
    masks = [select_smallest(scores, all_kept(scores), count)["w"].tolist() for count in (2, 3)]
    assert masks == [[True, True, False, False], [True, False, False, False]]


def test_denormals_are_told_apart_although_the_processor_flushes_them() -> None:
    torch.set_flush_denormal(False)  # whatever a test before has set
    scores = {"w": torch.tensor([3e-45, 0.0, 1e-45])}
    torch.set_flush_denormal(True)
    try:
        masks = [select_smallest(scores, all_kept(scores), count)["w"].tolist() for count in (1, 2)]
    finally:
        torch.set_flush_denormal(False)
    assert masks == [[True, False, True], [True, False, False]]


def test_the_selection_is_allowed_where_only_deterministic_algorithms_are() -> None:
    scores, kept = random_case(1, 6)
    plain = select_smallest(scores, kept, 13)
    torch.use_deterministic_algorithms(True)
    try:
        strict = select_smallest(scores, kept, 13)
    finally:
        torch.use_deterministic_algorithms(False)
    assert all(torch.equal(plain[name], strict[name]) for name in scores)


@pytest.mark.gpu
@pytest.mark.parametrize("seed", range(3))
def test_a_gpu_selects_the_weights_that_a_cpu_selects(seed: int) -> None:
    scores, kept = random_case(seed, 6)
    on_gpu = [{name: tensor.cuda() for name, tensor in named.items()} for named in (scores, kept)]
    torch.use_deterministic_algorithms(True)
    try:
        found = select_smallest(on_gpu[0], on_gpu[1], 13)
    finally:
        torch.use_deterministic_algorithms(False)
    expected = select_smallest(scores, kept, 13)
    assert all(torch.equal(found[name].cpu(), expected[name]) for name in scores)


def test_each_tensor_keeps_its_own_number_of_its_largest() -> None:
    scores = {"a": torch.tensor([1.0, 9.0, 8.0]), "b": torch.tensor([[0.1, 0.3], [0.2, 0.4]])}
    kept = {name: torch.ones_like(score, dtype=torch.bool) for name, score in scores.items()}
    masks = select_within(scores, kept, {"a": 1, "b": 3})
    assert masks["a"].tolist() == [False, True, False]
    assert masks["b"].tolist() == [[False, True], [True, True]]


def test_a_tensor_that_keeps_fewer_than_its_number_stays_as_it_is() -> None:
    kept = {"a": torch.tensor([True, False, False])}
    assert torch.equal(select_within({"a": torch.ones(3)}, kept, {"a": 2})["a"], kept["a"])


def test_each_output_column_loses_the_same_number_of_its_smallest() -> None:
    score = torch.tensor([[4.0, 1.0, 3.0, 2.0], [40.0, 30.0, 10.0, 20.0]])
    masks = select_by_column({"w": score}, {"w": torch.ones(2, 4, dtype=torch.bool)}, 0.5)
    assert masks["w"].tolist() == [[True, False, True, False], [True, True, False, False]]


def test_what_a_column_has_lost_counts_among_what_it_loses() -> None:
    keep = torch.tensor([[False, True, True, True]])
    masks = select_by_column({"w": torch.tensor([[9.0, 1.0, 2.0, 3.0]])}, {"w": keep}, 0.5)
    assert masks["w"].tolist() == [[False, False, True, True]]


def test_a_filter_is_one_column_and_so_is_a_vector() -> None:
    score = {"kernel": torch.arange(24.0).view(2, 3, 2, 2), "bias": torch.arange(100.0)}
    kept = {name: torch.ones_like(of, dtype=torch.bool) for name, of in score.items()}
    masks = select_by_column(score, kept, 0.29)
    assert [int(of.sum()) for of in masks["kernel"]] == [9, 9]  # of 12 floor(3.48) went
    assert masks["bias"].tolist() == [False] * 29 + [True] * 71  # although 0.29 * 100 is a little less than 29


@pytest.mark.parametrize("devices", [(), selection.QUICK_DEVICES], ids=["by a sort", "by a k-th value"])
@pytest.mark.parametrize("num_levels", [2, 6, 10**6])
@pytest.mark.parametrize("count", [0, 1, 13, 47])
def test_within_a_step_the_largest_are_kept_the_first_of_equal_ones(
    monkeypatch: pytest.MonkeyPatch, count: int, num_levels: int, devices: tuple[str, ...]
) -> None:
    monkeypatch.setattr(selection, "QUICK_DEVICES", devices)
    scores = [score - 3 for score in random_case(0, num_levels)[0].values()]
    found = torch.cat([mask.flatten() for mask in keep_largest(scores, torch.tensor(count))])
    values = torch.cat([score.flatten() for score in scores]).tolist()
    order = sorted(range(len(values)), key=lambda place: (-values[place], place))
    assert found.nonzero().flatten().tolist() == sorted(order[:count])
