"""Numbers by name: the first pattern that fits, else the one for all; a pattern that fits nothing is a mistake."""

import pytest

from sparsity.pruning.patterns import by_name

NAMES = ("conv1.weight", "conv1.bias", "fc1.weight")


def test_the_first_pattern_that_fits_a_name_has_its_number_and_the_others_have_the_default() -> None:
    found = by_name(NAMES, 1.0, {"conv1.weight": 2.0, "conv1.*": 3.0}, "pruner.method.some")
    assert found == {"conv1.weight": 2.0, "conv1.bias": 3.0, "fc1.weight": 1.0}


def test_a_pattern_that_fits_no_parameter_is_refused_with_those_that_there_are() -> None:
    with pytest.raises(ValueError, match=r"some names conv3\.\*, which fits no parameter; they are conv1"):
        by_name(NAMES, 1.0, {"conv3.*": 2.0}, "pruner.method.some")
