"""Does each key of the protocol do, alone and in a run, what it says? Those of the data stand with their builders."""

from pathlib import Path

import pytest

from sparsity.settings import PenaltySettings, ProtocolSettings, PrunerSettings
from tests.tiny_runs import TinyRun, tiny_run


def lambdas(run: TinyRun, num_steps: int) -> list[float]:
    """Lambda at the first steps of the regularised phase, whose strength is 0.01 and whose epochs have 8 steps."""
    return [row["penalty/lambda"] for row in run.rows("step") if row["phase"] == "regularise"][:num_steps]


def test_lambda_is_counted_after_its_use_or_before_it(tmp_path: Path) -> None:
    sound = tiny_run(tmp_path)
    authors = tiny_run(tmp_path, protocol=ProtocolSettings(count_before_use=True))
    assert lambdas(sound, 4) == pytest.approx([0.01, 0.01 * 7 / 8, 0.01, 0.01 * 7 / 8]), "the gate opens every 2 steps"
    assert lambdas(authors, 4) == pytest.approx([0.01 * 7 / 8, 0.01 * 6 / 8, 0.01 * 7 / 8, 0.01 * 6 / 8])


@pytest.mark.parametrize(("kind", "second"), [("l1", 0.01), ("l2", 0.01), ("relevance", 0.01 * 7 / 8)])
def test_lambda_of_the_controls_alone_may_be_constant(tmp_path: Path, kind: str, second: float) -> None:
    pruner = PrunerSettings(kind, True, PenaltySettings(kind, 0.01))
    run = tiny_run(tmp_path, pruner=pruner, protocol=ProtocolSettings(constant_lambda_of_controls=True))
    assert lambdas(run, 2) == pytest.approx([0.01, second])
