"""What stopped the pruning of a run: the bound, the end of the epochs, or a sparsity that was asked for."""

import json
from pathlib import Path
from typing import Any

import pytest

from sparsity.report.configurations import Configuration
from sparsity.report.reading import Run, find_runs, load_run
from sparsity.report.stops import counted, is_at_bound, metric_at, num_missed, stopped_by
from tests.report.fake_results import REPOSITORY, AddRun, summary

SETTINGS = {"pruner.name": "relevance", "pruner.prunes": True}


def ended(
    add_run: AddRun, pruned: str, stopped: str = "epochs ended", offered: int = 4, seed: int = 0, **settings: Any
) -> Run:
    """A run whose evaluations pruned (x) or not (.), of which so many were offered to the gate."""
    directory: Path = add_run(
        seed=seed,
        settings=SETTINGS | settings,
        plan={**summary()["plan"], "num_evaluations": offered},
        regularise={**summary()["regularise"], "stopped": stopped},
    )
    points = [
        {
            "phase": "regularise",
            "step": i,
            "epoch": 0,
            "val": 90.0 + i,
            "sparsity": 0.5 * (i > 0),
            "pruned": mark == "x",
        }
        for i, mark in enumerate(pruned)
    ]
    tail = {**points[-1], "phase": "finetune/last", "pruned": False}
    (directory / "curve.jsonl").write_text("".join(json.dumps(point) + "\n" for point in [*points, tail]))
    return load_run(directory)


@pytest.mark.parametrize(
    ("pruned", "expected"),
    [
        ("xxxx.", "end of the epochs"),  # the evaluation that closes the phase never prunes
        ("xx...", "bound, not passed at the last 2 of 4 evaluations"),
        (".....", "bound, not passed at the last 4 of 4 evaluations"),
        (".x.x.", "end of the epochs"),
    ],
)
def test_the_last_evaluation_that_could_prune_tells_bound_from_epochs(
    add_run: AddRun, pruned: str, expected: str
) -> None:
    run = ended(add_run, pruned)
    assert stopped_by(run) == expected
    assert is_at_bound(run) == expected.startswith("bound")


def test_a_sparsity_that_was_asked_for_is_not_the_bound(add_run: AddRun) -> None:
    run = ended(add_run, "xx", "reached gate.stop_at_sparsity=0.9")
    assert (stopped_by(run), is_at_bound(run)) == ("reached gate.stop_at_sparsity=0.9", False)


def test_a_plateau_stop_is_the_bounds(add_run: AddRun) -> None:
    run = ended(add_run, "xx..", "no prune for 1 epochs")
    assert is_at_bound(run) and stopped_by(run).endswith("; no prune for 1 epochs")


def test_a_run_that_never_prunes_or_has_no_gate_has_no_bound(add_run: AddRun) -> None:
    dense = ended(add_run, "....", **{"pruner.prunes": False})
    assert (stopped_by(dense), is_at_bound(dense)) == ("not pruned", False)


@pytest.mark.parametrize("trigger", ["plateau", "restoring_plateau"])
def test_a_plateau_trigger_has_no_bound(add_run: AddRun, trigger: str) -> None:
    assert stopped_by(ended(add_run, "x...", **{"pruner.trigger": trigger})) == "end of the epochs"


def test_a_run_without_a_gate_is_not_counted_among_those_that_it_stopped_or_let_go_on(add_run: AddRun) -> None:
    runs = ended(add_run, "xx.."), ended(add_run, "xxx.", seed=1, **{"pruner.trigger": "restoring_plateau"})
    assert counted([Configuration(runs, ())]).startswith("The bound stopped the pruning of 1 of 1 runs.")


def test_an_early_run_that_recorded_no_settings_was_gated(add_run: AddRun) -> None:
    run = load_run(add_run(settings=None))
    assert is_at_bound(run) and stopped_by(run) == "bound, not passed at the last 1 of 3 evaluations"


def test_a_metric_belongs_to_the_network_before_the_evaluations_own_prune(add_run: AddRun) -> None:
    run = ended(add_run, "xxxx.")
    assert (metric_at(run, 0.0), metric_at(run, 0.5), metric_at(run, 0.6)) == (90.0, 92.0, None)


def test_of_the_committed_studies_runs_all_but_two_were_stopped_by_their_epochs() -> None:
    runs = [load_run(path) for path in find_runs(REPOSITORY / "results")]
    studied = tuple(run for run in runs if str(run.summary.provenance.commit).startswith("69b9d7c"))
    assert counted([Configuration(studied, ())]).startswith("The bound stopped the pruning of 2 of 42 runs.")


def test_of_the_full_runs_two_on_fashion_mnist_still_pruned_at_the_end() -> None:
    found = {
        (run.summary.experiment, run.summary.seed): num_missed(run)
        for run in map(load_run, find_runs(REPOSITORY / "results"))
        if run.summary.fingerprint in ("56e701b943", "501468451c")
    }
    assert [found["lenet5_mnist", seed] for seed in range(3)] == [6, 16, 41]
    assert [found["lenet5_fashion_mnist", seed] for seed in range(3)] == [1, 0, 0]
