"""Does each key of the protocol do, alone and in a run, what it says? Those of the data stand with their builders."""

import json
import math
from dataclasses import replace
from pathlib import Path

import pytest

from sparsity import provenance
from sparsity.settings import BaselineSettings, LrScheduleSettings, ProtocolSettings
from tests.pruners import pruner
from tests.tiny_runs import TinyRun, tiny_run, tiny_settings


def lambdas(run: TinyRun, num_steps: int) -> list[float]:
    """Lambda at the first steps of the regularised phase, whose strength is 0.01 and whose epochs have 8 steps."""
    return [row["penalty/lambda"] for row in run.rows("step") if row["phase"] == "regularise"][:num_steps]


def test_lambda_is_counted_after_its_use_or_before_it(tmp_path: Path) -> None:
    sound = tiny_run(tmp_path)
    authors = tiny_run(tmp_path, protocol=ProtocolSettings(count_before_use=True))
    assert lambdas(sound, 4) == pytest.approx([0.01, 0.01 * 7 / 8, 0.01, 0.01 * 7 / 8]), "the gate opens every 2 steps"
    assert lambdas(authors, 4) == pytest.approx([0.01 * 7 / 8, 0.01 * 6 / 8, 0.01 * 7 / 8, 0.01 * 6 / 8])


def test_the_cosine_may_move_per_micro_batch(tmp_path: Path) -> None:
    settings = tiny_settings(tmp_path)
    cosine = replace(settings.regularise, micro_batches=5, num_epochs=1, lr_schedule=LrScheduleSettings("cosine"))
    sound = tiny_run(tmp_path, regularise=cosine)
    authors = tiny_run(tmp_path, regularise=cosine, protocol=ProtocolSettings(cosine_per_micro_batch=True))
    places = ([0, 5, 10], [4, 9, 14])  # of 40 micro-batches
    for run, moved in zip((sound, authors), places, strict=True):
        rates = [row["train/learning_rate"] for row in run.rows("step") if row["phase"] == "regularise"][:3]
        assert rates == pytest.approx([1e-3 * 0.5 * (1 + math.cos(math.pi * place / 40)) for place in moved])


def test_the_baseline_may_be_evaluated_within_its_epochs(tmp_path: Path) -> None:
    baseline = BaselineSettings(source="train", num_epochs=2, batch_size=5)
    settings = tiny_settings(tmp_path, baseline=baseline, protocol=ProtocolSettings(baseline_evaluate_every_steps=3))
    run = tiny_run(tmp_path, baseline=settings.baseline, protocol=settings.protocol)
    lines = (provenance.baseline_directory(settings) / "metrics.jsonl").read_text().splitlines()
    evaluated = [row["step"] for row in map(json.loads, lines) if row["kind"] == "evaluation"]
    assert evaluated == [3, 6, 11, 14, 16], "the counter restarts with each epoch of 8 steps; the phase ends with one"
    assert run.summary["plan"]["baseline"] == {"num_steps": 16, "num_evaluations": 4}


@pytest.mark.parametrize(("kind", "second"), [("l1", 0.01), ("l2", 0.01), ("relevance", 0.01 * 7 / 8)])
def test_lambda_of_the_controls_alone_may_be_constant(tmp_path: Path, kind: str, second: float) -> None:
    run = tiny_run(tmp_path, pruner=pruner(kind, 0.01), protocol=ProtocolSettings(constant_lambda_of_controls=True))
    assert lambdas(run, 2) == pytest.approx([0.01, second])
