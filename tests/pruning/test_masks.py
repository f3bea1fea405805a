"""Do masks only shrink, zero what they prune, and survive as bits?"""

import pytest
import torch
from torch import Tensor

from sparsity.pruning import masks as masks_module
from sparsity.pruning.masks import Masks, pack_bits, signs_of, unpack_bits


def two_tensors() -> dict[str, Tensor]:
    return {"w": torch.tensor([[1.0, -2.0], [3.0, -4.0]]), "b": torch.tensor([5.0, 6.0, 7.0])}


def cut(masks: Masks) -> None:
    masks.shrink({"w": torch.tensor([[True, False], [True, True]]), "b": torch.tensor([False, True, True])})


@pytest.mark.parametrize("shape", [(1,), (7,), (8,), (9,), (3, 5), (2, 3, 5, 5), (0,), ()])
def test_bits_come_back_in_any_shape(shape: tuple[int, ...]) -> None:
    keep = torch.rand(shape, generator=torch.Generator().manual_seed(1)) > 0.5
    bits = pack_bits(keep)
    assert bits.dtype == torch.uint8 and len(bits) == (keep.numel() + 7) // 8
    assert torch.equal(unpack_bits(bits, keep.shape), keep)


def test_the_first_weight_is_the_highest_bit_and_the_padding_is_zero() -> None:
    keep = torch.tensor([True, False, False, False, False, False, True, True, False, True])
    assert pack_bits(keep).tolist() == [0b10000011, 0b01000000]


def test_bits_stand_in_row_major_order_whatever_the_memory_layout() -> None:
    keep = torch.rand(2, 3, 2, 2, generator=torch.Generator().manual_seed(1)) > 0.5
    assert torch.equal(pack_bits(keep.to(memory_format=torch.channels_last)), pack_bits(keep))


def test_everything_is_kept_at_first() -> None:
    assert Masks(two_tensors()).count_kept() == {"w": 4, "b": 3}


def test_shrinking_zeroes_the_weights_at_once() -> None:
    parameters = two_tensors()
    cut(Masks(parameters))
    assert parameters["w"].tolist() == [[1.0, 0.0], [3.0, -4.0]] and parameters["b"].tolist() == [0.0, 6.0, 7.0]


def test_kept_weights_are_counted_by_name() -> None:
    masks = Masks(two_tensors())
    cut(masks)
    assert masks.count_kept() == {"w": 3, "b": 2}


def test_masks_only_shrink() -> None:
    masks = Masks(two_tensors())
    cut(masks)
    masks.shrink({"w": torch.ones(2, 2, dtype=torch.bool), "b": torch.tensor([True, True, False])})
    assert masks.kept["w"].tolist() == [[True, False], [True, True]]
    assert masks.kept["b"].tolist() == [False, True, False]


def test_restored_masks_zero_the_weights() -> None:
    saved = Masks(two_tensors())
    cut(saved)
    parameters = two_tensors()
    restored = Masks(parameters)
    restored.load_state_dict(saved.state_dict())
    assert restored.count_kept() == {"w": 3, "b": 2} and parameters["b"].tolist() == [0.0, 6.0, 7.0]


def test_each_change_is_another_version() -> None:
    masks = Masks(two_tensors())
    seen = [masks.version]
    cut(masks)
    seen.append(masks.version)
    masks.load_state_dict(masks.state_dict())
    assert len({*seen, masks.version}) == 3


def test_masks_whose_weights_may_return_hold_none_and_leave_the_weights_alone() -> None:
    parameters = two_tensors()
    masks = Masks(parameters)
    assert list(masks.held) == ["w", "b"]
    masks.let_return()
    cut(masks)
    assert masks.held == {} and parameters["b"].tolist() == [5.0, 6.0, 7.0]


def negative(masks: Masks) -> list[list[bool]]:
    """The signs of the two tensors, row by row."""
    signs = signs_of(masks.state_dict())
    return [unpack_bits(signs[name], torch.Size([size])).tolist() for name, size in (("w", 4), ("b", 3))]


def test_a_pruned_weights_sign_is_the_one_it_was_pruned_with() -> None:
    parameters = two_tensors()
    masks = Masks(parameters)
    cut(masks)
    for parameter in parameters.values():
        parameter.neg_()  # an optimiser may turn the sign of a zero
    masks.shrink({"w": torch.tensor([[True, True], [True, False]]), "b": torch.tensor([False, True, False])})
    assert negative(masks) == [[False, True, False, False], [False, False, True]]


def test_the_signs_come_back_with_the_masks() -> None:
    saved = Masks(two_tensors())
    cut(saved)
    restored = Masks({name: parameter.abs() for name, parameter in two_tensors().items()})
    restored.load_state_dict(saved.state_dict())
    assert negative(restored) == [[False, True, False, False], [False, False, False]]


def test_signs_that_a_checkpoint_does_not_hold_are_not_made_up() -> None:
    saved = Masks(two_tensors())
    cut(saved)
    restored = Masks(two_tensors())
    early = {name: bits for name, bits in saved.state_dict().items() if name in two_tensors()}
    restored.load_state_dict(early)
    cut(restored)
    assert restored.state_dict() == early


def test_masks_have_the_layout_of_their_parameter() -> None:
    parameter = torch.ones(2, 3, 2, 2).to(memory_format=torch.channels_last)
    masks = Masks({"w": parameter})
    masks.load_state_dict(masks.state_dict())
    assert masks.multipliers["w"].stride() == parameter.stride()


@pytest.mark.parametrize("num_weights", [1, 8, 15, 16, 17, 40])
def test_bits_packed_in_many_chunks_are_those_packed_at_once(num_weights: int, monkeypatch: pytest.MonkeyPatch) -> None:
    keep = torch.rand(num_weights, generator=torch.Generator().manual_seed(0)) > 0.5
    whole = pack_bits(keep)
    monkeypatch.setattr(masks_module, "CHUNK_BYTES", 2)
    assert torch.equal(pack_bits(keep), whole)
    assert torch.equal(unpack_bits(whole, keep.shape), keep)


def test_only_masks_that_let_weights_return_are_replaced() -> None:
    masks = Masks(two_tensors())
    with pytest.raises(ValueError, match=r"asks for `masks`, calls masks\.let_return\(\)"):
        masks.replace({"b": torch.ones(3, dtype=torch.bool)})
    masks.let_return()
    masks.replace({"b": torch.tensor([True, False, False])})
    assert masks.count_kept() == {"w": 4, "b": 1}
