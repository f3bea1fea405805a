"""Crops are drawn as torchvision's RandomResizedCrop draws them, from (seed, kind, epoch, index) alone."""

import math

import pytest

from sparsity.data.images.crops import Crop, EpochDraws

NUM_IMAGES = 2000


def crops(height: int = 300, width: int = 400, min_area: float = 0.08, **place: object) -> list[Crop]:
    draws = EpochDraws(**{"seed": 0, "kind": "regularise", "epoch": 0} | place, min_area=min_area)
    return [draws.crop(index, height, width) for index in range(NUM_IMAGES)]


def test_every_crop_lies_within_the_image() -> None:
    for crop in crops():
        assert 0 <= crop.top <= crop.top + crop.height <= 300
        assert 0 <= crop.left <= crop.left + crop.width <= 400
        assert min(crop.height, crop.width) > 0


def test_areas_are_uniform_between_the_smallest_and_the_whole() -> None:
    areas = [crop.height * crop.width / 300**2 for crop in crops(300, 300, min_area=0.1)]
    assert 0.09 < min(areas) < 0.12 and max(areas) <= 1
    # large crops of odd ratio fit less often, which shifts the median of 0.55 downwards
    assert sorted(areas)[NUM_IMAGES // 2] == pytest.approx(0.51, abs=0.03)


def test_ratios_lie_between_three_to_four_and_four_to_three_evenly_in_the_logarithm() -> None:
    ratios = [math.log(crop.width / crop.height) for crop in crops(500, 500, min_area=0.05)]
    assert max(map(abs, ratios)) < math.log(4 / 3) + 0.02
    assert sum(ratios) / NUM_IMAGES == pytest.approx(0, abs=0.02)


def test_half_of_the_crops_are_mirrored() -> None:
    assert sum(crop.flip for crop in crops()) / NUM_IMAGES == pytest.approx(0.5, abs=0.04)


def test_places_are_spread_over_the_image() -> None:
    found = crops(1000, 1000, min_area=0.08)
    tops = [crop.top / (1000 - crop.height) for crop in found if crop.height < 1000]
    lefts = [crop.left / (1000 - crop.width) for crop in found if crop.width < 1000]
    assert sum(tops) / len(tops) == pytest.approx(0.5, abs=0.03)
    assert sum(lefts) / len(lefts) == pytest.approx(0.5, abs=0.03)


@pytest.mark.parametrize(("height", "width"), [(10, 1000), (1000, 10)])
def test_an_image_that_no_crop_fits_gives_its_largest_central_one(height: int, width: int) -> None:
    crop = EpochDraws(0, "regularise", 0, min_area=0.9).crop(0, height, width)
    sides = sorted((crop.height, crop.width))
    assert sides == [10, 13]
    assert abs(2 * crop.left + crop.width - width) <= 1 and abs(2 * crop.top + crop.height - height) <= 1


def test_a_crop_depends_on_its_image_alone_not_on_those_drawn_before() -> None:
    draws = EpochDraws(0, "regularise", 0, 0.08)
    assert draws.crop(1_281_166, 300, 400) == draws.crop(1_281_166, 300, 400)
    assert crops()[7] == EpochDraws(0, "regularise", 0, 0.08).crop(7, 300, 400)


@pytest.mark.parametrize("place", [{"seed": 1}, {"kind": "finetune"}, {"epoch": 1}])
def test_crops_change_with_seed_kind_and_epoch(place: dict[str, object]) -> None:
    assert crops()[:10] != crops(**place)[:10]


def test_neighbouring_images_have_crops_of_their_own() -> None:
    assert len(set(crops())) > 0.99 * NUM_IMAGES


def test_the_draws_are_the_same_on_every_machine() -> None:
    assert crops()[:2] == [Crop(39, 73, 233, 308, True), Crop(28, 119, 252, 266, False)]
