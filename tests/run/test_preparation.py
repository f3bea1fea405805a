"""Is a run refused before its first step where a later phase could not begin?"""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from sparsity.run import pipeline, preparation
from sparsity.run.experiment import Experiment
from sparsity.settings import BaselineSettings, FinetuneSettings, GateSettings, PrunerSettings
from sparsity.training.loop import Trainer
from tests.pruners import pruner
from tests.tiny_runs import tiny_experiment


def refusal(experiment: Experiment, monkeypatch: pytest.MonkeyPatch) -> str:
    """The sentence with which a run ends that has not made a step."""
    monkeypatch.setattr(Trainer, "train_step", lambda *_, **__: pytest.fail("a step was made"))
    with pytest.raises(ValueError) as caught:
        pipeline.run(experiment)
    return str(caught.value)


def of_budget(budget: str, **changes: Any) -> PrunerSettings:
    return replace(pruner("relevance", 1e-2), budget=budget, **changes)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        (
            {"baseline": BaselineSettings(source="train", num_epochs=1, batch_size=41)},
            "baseline.batch_size=41 is more than the 40 training examples of tiny: choose at most 40.",
        ),
        (
            {"finetune": FinetuneSettings(num_epochs=1, batch_size=50)},
            "finetune.batch_size=50 is more than the 40 training examples of tiny: choose at most 40.",
        ),
        (
            {"pruner": of_budget("given", layer_sparsities={"fc9": 0.5})},
            "pruner.layer_sparsities names fc9, which is no parameter that is pruned; they are scale, "
            "fc1.weight, fc1.bias, fc2.weight, fc2.bias.",
        ),
        (
            {"pruner": of_budget("erk"), "gate": GateSettings(target_sparsity=0.95)},
            "pruner.budget=erk keeps biases and norms, which are more than the 2 weights that a sparsity of 0.96 "
            "leaves: ask for a lower one, or set pruner.counted=weights.",
        ),
    ],
    ids=lambda value: "" if isinstance(value, str) else next(iter(value)),
)
def test_a_phase_that_could_not_begin_is_named_before_the_first_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changes: dict[str, Any], sentence: str
) -> None:
    assert refusal(tiny_experiment(tmp_path, **changes), monkeypatch) == sentence


def test_a_batch_may_be_all_of_the_training_data(tmp_path: Path) -> None:
    whole = FinetuneSettings(num_epochs=3, batch_size=40)
    assert [row.num_epochs for row in pipeline.run(tiny_experiment(tmp_path, finetune=whole)).rows] == [3, 3]


@pytest.mark.parametrize(
    ("score", "described"), [(lambda w: w.sum(), "() of float32"), (lambda w: w.double(), "(4,) of float64")]
)
def test_a_score_that_is_not_one_for_each_weight_is_named_before_the_first_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, score: Callable[[Tensor], Tensor], described: str
) -> None:
    assert refusal(replace(tiny_experiment(tmp_path), score=score), monkeypatch) == (
        f"The scores of scale are {described}, but its weights are (4,) of float32: a score is of its weight's "
        "shape and type."
    )


def test_a_network_that_cannot_read_what_is_no_image_is_named_before_the_first_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sparsity.run.experiment.check_fit", lambda *_: None)
    monkeypatch.setattr(preparation, "Images", int)
    said = refusal(replace(tiny_experiment(tmp_path), build_model=lambda: nn.Linear(3, 3)), monkeypatch)
    assert said.startswith("The phase regularise cannot begin (mat1 and mat2 shapes cannot be multiplied (")
    assert said.endswith(
        "): choose a model, a dataset, a task and a pruner that fit each other and this machine; HYDRA_FULL_ERROR=1 "
        "shows where, in code of your own."
    )


def test_an_error_that_says_but_a_name_is_told_with_its_kind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said = refusal(replace(tiny_experiment(tmp_path), build_method=lambda **offered: offered["fc9"]), monkeypatch)
    assert said.startswith("The phase regularise cannot begin (KeyError: 'fc9'): choose a model")


def test_a_network_without_end_is_refused_and_not_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Endless(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.scores = nn.Linear(16, 1 << 28)
            assert self.scores.weight.device == torch.device("meta"), "there is no room for it"

    assert refusal(replace(tiny_experiment(tmp_path), build_model=Endless), monkeypatch) == (
        "TinyNet would have 4,563,402,752 weights, and more than 2,147,483,648 are not taken for meant: choose smaller "
        "widths."
    )
