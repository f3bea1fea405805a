"""What may go wrong with a pruning without an error is said once, with its number."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from sparsity.pruning.masks import Masks
from sparsity.run.alarms import Alarms, path_finder
from sparsity.settings import GateSettings, ScheduleSettings
from tests.pruners import pruner
from tests.tiny_runs import TinyNet, tiny_data, tiny_run, tiny_settings


def masks_of(model: nn.Module) -> Masks:
    return Masks(dict(model.named_parameters()))


def cut(masks: Masks, **kept: Tensor) -> None:
    masks.shrink({name.replace("_", "."): keep for name, keep in kept.items()})


def test_a_layer_without_weights_is_named_once_and_a_bias_is_none(caplog: pytest.LogCaptureFixture) -> None:
    masks = masks_of(TinyNet())
    alarms = Alarms("l2", masks, 20)
    cut(masks, fc2_weight=torch.zeros(4, 2, dtype=torch.bool), fc1_bias=torch.zeros(2, dtype=torch.bool))
    alarms.look(500, 0)
    alarms.look(1000, 0)
    assert alarms.sentences == ("fc2.weight has lost all of its 8 weights by step 500.",)
    assert caplog.messages == [f"warning: {alarms.sentences[0]}"]


def test_a_method_that_removes_nothing_is_named_half_way(caplog: pytest.LogCaptureFixture) -> None:
    alarms = Alarms("l0", masks_of(TinyNet()), 20)
    for step in range(9):
        alarms.look(step, 0)
    assert not alarms.sentences
    alarms.look(10, 0)
    assert alarms.sentences == ("pruner=l0 has removed nothing in 10 of 20 evaluations.",)


def test_a_method_that_removes_next_to_nothing_is_named_with_how_much() -> None:
    masks = masks_of(TinyNet())
    cut(masks, fc1_weight=torch.arange(32).view(2, 16) < 30)
    alarms = Alarms("edropout", masks, 2)
    alarms.look(10, 0)
    assert alarms.sentences == ("pruner=edropout has removed only 4.00 % of the weights in 1 of 2 evaluations.",)


def test_a_gate_that_stalls_is_named_and_a_schedule_never_does() -> None:
    masks = masks_of(TinyNet())
    cut(masks, fc1_weight=torch.arange(32).view(2, 16) < 16)
    few, alarms = Alarms("l2", masks, 16), Alarms("l2", masks, 40)
    few.look(100, 7)
    assert not few.sentences, "a quarter of few evaluations is no sign of anything"
    alarms.look(100, 9)
    alarms.look(110, 0)
    assert not alarms.sentences
    alarms.look(120, 10)
    assert alarms.sentences == ("There was no prune at 10 evaluations in a row, with 68.00 % of the weights left.",)


def test_a_network_without_a_path_is_named_where_half_of_the_weights_have_gone_or_at_the_end() -> None:
    model = TinyNet()
    masks = masks_of(model)
    asked: list[int] = []

    def has_path() -> bool:
        asked.append(1)
        return False

    alarms = Alarms("l2", masks, 40, has_path)
    alarms.look(100, 0)
    assert not asked
    cut(masks, fc1_weight=torch.arange(32).view(2, 16) < 5)
    alarms.look(200, 0)
    alarms.look(300, 0)
    assert len(asked) == 1
    alarms.conclude(400)
    assert len(asked) == 2
    left = "the 23 weights that are left say the same of every input"
    assert alarms.sentences == (f"No path leads from the input to the output by step 200: {left}.",)


def test_what_was_said_is_not_said_again_by_a_run_that_goes_on(caplog: pytest.LogCaptureFixture) -> None:
    masks = masks_of(TinyNet())
    alarms, resumed = (Alarms("l2", masks, 4) for _ in range(2))
    for _ in range(2):
        alarms.look(1, 0)
    resumed.load_state_dict(alarms.state_dict())
    caplog.clear()
    resumed.look(2, 0)
    assert resumed.sentences == alarms.sentences and not caplog.messages
    resumed.load_state_dict({})  # of a checkpoint of the time before


class Layered(nn.Sequential):
    """No paths can be counted in it: a normalisation over features makes nothing of equal inputs."""

    def __init__(self) -> None:
        super().__init__(nn.Flatten(), nn.LayerNorm(16), nn.Linear(16, 2))


@pytest.mark.parametrize(("build", "expected"), [(TinyNet, False), (Layered, True)])
def test_nothing_is_said_of_networks_in_which_paths_cannot_be_counted(build: Any, expected: bool) -> None:
    empty = {name: torch.zeros_like(value) for name, value in build().state_dict().items()}
    finder = path_finder(build, lambda: empty, tiny_data())
    assert finder is not None
    state = torch.get_rng_state()
    assert finder() is expected
    assert torch.equal(torch.get_rng_state(), state), "making a network takes nothing of the run's random numbers"
    assert path_finder(build, lambda: empty, object()) is None


def test_the_alarms_of_a_run_stand_in_its_summary(tmp_path: Path) -> None:
    shut = GateSettings(bound=100.0, policy="printed")
    summary = tiny_run(tmp_path / "shut", gate=shut).summary
    assert summary["alarms"] == ["pruner=relevance has removed nothing in 4 of 8 evaluations."]
    two_thirds = replace(tiny_settings(tmp_path).schedule, fraction=0.9)
    cut_down = tiny_run(tmp_path / "cut", schedule=two_thirds, pruner=pruner("magnitude")).summary
    assert any("has lost all of its" in sentence for sentence in cut_down["alarms"]), json.dumps(cut_down["alarms"])
    assert any(sentence.startswith("No path leads") for sentence in cut_down["alarms"])


def test_a_run_whose_schedule_has_ended_has_not_stalled(tmp_path: Path) -> None:
    every_step = replace(tiny_settings(tmp_path).regularise, evaluate_every_steps=1)
    cubic = pruner("magnitude", trigger="cubic")
    run = tiny_run(tmp_path, regularise=every_step, pruner=cubic, schedule=ScheduleSettings(end=0.25))
    assert [point["pruned"] for point in run.curve("regularise")] == 3 * [True] + 13 * [False]
    assert run.summary["alarms"] == []


def test_the_closing_evaluation_of_a_phase_that_has_scheduled_none_is_not_counted(tmp_path: Path) -> None:
    settings = tiny_settings(tmp_path)
    long = replace(settings.regularise, evaluate_every_steps=1000)
    assert tiny_run(tmp_path, regularise=long).summary["alarms"] == []


def test_a_layer_that_was_lost_after_the_last_scheduled_evaluation_is_named_at_the_end() -> None:
    masks = masks_of(TinyNet())
    alarms = Alarms("dns", masks, 0)
    cut(masks, fc2_weight=torch.zeros(4, 2, dtype=torch.bool))
    alarms.conclude(40)
    assert alarms.sentences == ("fc2.weight has lost all of its 8 weights by step 40.",)
