"""What happens at an evaluation of the regularised phase: which states are kept, when it stops, what is recorded."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from sparsity.pruning.masks import unpack_bits
from sparsity.pruning.plateaus import Plateau, RestoringPlateau
from sparsity.pruning.pruner import Pruner
from sparsity.pruning.schedules import Gate
from sparsity.pruning.triggers import Decision
from sparsity.run import pipeline
from sparsity.run.gating import BEST_LOSS, GatedPruning
from sparsity.run.phase import Phase
from sparsity.settings import (
    GateSettings,
    OptimizerSettings,
    PhaseSettings,
    ProtocolSettings,
    ScheduleSettings,
    Settings,
)
from sparsity.weights.checkpoints import load_checkpoint
from tests.pruners import pruner
from tests.tiny_runs import NUM_WEIGHTS, TinyNet, TinyRun, tiny_experiment, tiny_run, tiny_settings

OPEN = GateSettings(bound=0.0, policy="printed")
STARTING_STATES = ("paper_sparsity", "last_network")
SHUT = GateSettings(bound=100.0, policy="printed")


def run(results: Path, **changes: Any) -> dict[str, Any]:
    """The summary of a tiny run without a final phase."""
    short = replace(tiny_settings(results).finetune, num_epochs=0)
    return tiny_run(results, **({"finetune": short} | changes)).summary


def sparsity_of(path: Path) -> float:
    """Of the masks in a checkpoint, in [0, 1]."""
    masks = load_checkpoint(path)["masks"]
    kept = [unpack_bits(masks[name], p.shape) for name, p in TinyNet().named_parameters()]
    return 1 - sum(int(mask.sum()) for mask in kept) / NUM_WEIGHTS


def test_the_state_that_first_reaches_the_papers_sparsity_is_kept(tiny_run: TinyRun) -> None:
    path = tiny_run.directory / "checkpoints" / "regularise" / "paper_sparsity.pt"
    reached = [point["sparsity"] for point in tiny_run.summary["frontier"] if point["sparsity"] >= 0.45]
    assert sparsity_of(path) == pytest.approx(reached[0])


def test_a_method_that_ends_short_of_the_papers_sparsity_has_no_network_of_it(tmp_path: Path) -> None:
    rows = run(tmp_path, pruner=pruner("magnitude", trigger="own"))["rows"]  # which never says what is left
    assert [(row["start"], row["sparsity"]) for row in rows] == [("last", 0.0)]


def before_a_cut(results: Path, **changes: Any) -> tuple[dict[str, Any], Path]:
    """The summary of a run whose final phases start before a cut, and the folder of its states."""
    none = replace(tiny_settings(results).finetune, num_epochs=0)
    made = tiny_run(results, finetune=none, protocol=ProtocolSettings(start_before_cut=True), **changes)
    return made.summary, made.directory / "checkpoints" / "regularise"


def test_a_final_phase_may_start_from_the_state_that_the_next_evaluation_finds(tmp_path: Path) -> None:
    gate = GateSettings(bound=0.0, target_sparsity=0.45, stop_at_sparsity=0.45, policy="printed")
    summary, folder = before_a_cut(tmp_path, gate=gate)
    assert (run(tmp_path, gate=gate)["regularise"]["num_steps"], summary["regularise"]["num_steps"]) == (6, 8)
    assert [row["sparsity"] for row in summary["rows"]] == [0.48, 0.48], "the fourth prune, at step 8, is left out"
    before, *starts = (load_checkpoint(folder / f"{name}.pt") for name in ("before_cut", *STARTING_STATES))
    assert all(torch.equal(state["weights"]["fc1.weight"], before["weights"]["fc1.weight"]) for state in starts)


def test_of_the_evaluations_that_find_the_papers_sparsity_the_first_one_keeps_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    decide, keep = Gate.decide, Phase.keep
    kept: list[int] = []

    def early(self: Gate, step: int, metrics: Any) -> Decision:
        return decide(self, step, metrics) if step <= 6 else Decision(False, "late")

    def noting(self: Phase, name: str, **record: Any) -> None:
        keep(self, name, **record)
        if name == "paper_sparsity":
            kept.append(self.trainer.step)

    monkeypatch.setattr(Gate, "decide", early)
    monkeypatch.setattr(Phase, "keep", noting)
    before_a_cut(tmp_path)
    assert kept == [8]


def test_where_the_last_evaluation_cuts_nothing_its_state_is_the_last(tmp_path: Path) -> None:
    short = replace(tiny_settings(tmp_path).regularise, max_steps=7)
    _, folder = before_a_cut(tmp_path, regularise=short)
    paper, last = (load_checkpoint(folder / f"{name}.pt") for name in STARTING_STATES)
    assert sparsity_of(folder / "last_network.pt") == pytest.approx(0.48), "after three prunes"
    assert torch.equal(paper["weights"]["fc1.weight"], last["weights"]["fc1.weight"]), "of the closing evaluation"


def test_the_state_before_a_prune_is_kept_only_where_a_final_phase_starts_from_it(
    tiny_run: TinyRun, tmp_path: Path
) -> None:
    assert not (tiny_run.directory / "checkpoints" / "regularise" / "before_cut.pt").exists()
    summary, folder = before_a_cut(tmp_path)
    assert sparsity_of(folder / "before_cut.pt") == pytest.approx(summary["frontier"][-1]["sparsity"])


def test_a_prune_clears_what_the_optimiser_remembers_of_the_weights_that_went(tiny_run: TinyRun) -> None:
    state = load_checkpoint(tiny_run.directory / "checkpoints" / "regularise" / "last.pt")  # just after the last prune
    of_kept = []
    for i, (name, parameter) in enumerate(TinyNet().named_parameters()):
        kept, moments = unpack_bits(state["masks"][name], parameter.shape), state["trainer"]["optimizer"][i]
        for moment in (moments["exp_avg"], moments["exp_avg_sq"]):
            assert not moment[~kept].any(), name
            of_kept.append(moment[kept])
    assert torch.cat(of_kept).any(), "it has forgotten everything"


def test_the_frontier_has_each_prune_with_the_sparsity_and_the_metric_before_it(tiny_run: TinyRun) -> None:
    frontier, curve = tiny_run.summary["frontier"], tiny_run.curve("regularise")
    assert [point["prune"] for point in frontier] == list(range(1, 9))
    assert [point["step"] for point in frontier] == list(range(2, 17, 2))
    assert [point["val"] for point in frontier] == [point["val"] for point in curve]
    assert [point["sparsity"] for point in frontier] == pytest.approx([0.0] + [p["sparsity"] for p in curve[:-1]])


def test_each_prune_removes_the_rounded_fraction_of_what_is_left(tiny_run: TinyRun) -> None:
    kept = [round(NUM_WEIGHTS * (1 - point["sparsity"])) for point in tiny_run.curve("regularise")]
    assert kept == [40, 32, 26, 21, 17, 14, 11, 9]


def test_the_phase_ends_where_it_is_told_to(tmp_path: Path) -> None:
    summary = run(tmp_path, gate=replace(OPEN, stop_at_sparsity=0.5))
    assert summary["regularise"]["stopped"] == "reached gate.stop_at_sparsity=0.5"
    assert summary["regularise"]["num_steps"] == 8 < summary["plan"]["num_steps"]
    assert summary["rows"][-1]["sparsity"] == pytest.approx(0.58)
    assert summary["shortened"] is True


def test_a_plateau_ends_the_phase_where_that_is_asked_for(tmp_path: Path) -> None:
    summary = run(tmp_path, gate=replace(SHUT, plateau_epochs=1))
    assert summary["regularise"]["stopped"] == "no prune for 1 epochs"
    assert summary["regularise"]["num_evaluations"] == 4


def test_a_plateau_is_counted_on_after_a_resume(tmp_path: Path) -> None:
    summary = pipeline.rehearse(tiny_experiment(tmp_path, gate=replace(SHUT, plateau_epochs=1)))
    assert (summary.regularise.stopped, summary.regularise.num_evaluations) == ("no prune for 1 epochs", 4)


def test_a_plateau_is_counted_in_whole_epochs_of_a_shortened_phase(tmp_path: Path) -> None:
    def stopped(max_steps: int) -> tuple[str, int]:
        cut = PhaseSettings(num_epochs=10, batch_size=5, evaluate_every_steps=2, max_steps=max_steps)
        regularise = run(tmp_path, gate=replace(SHUT, plateau_epochs=1), regularise=cut)["regularise"]
        return regularise["stopped"], regularise["num_evaluations"]

    assert stopped(12) == ("no prune for 1 epochs", 4)
    assert stopped(6) == ("epochs ended", 3)


def test_without_a_plateau_stop_the_phase_runs_for_all_its_epochs(tmp_path: Path) -> None:
    summary = run(tmp_path, gate=SHUT)
    assert summary["regularise"] == {
        "num_steps": 16, "num_evaluations": 8, "num_prunes": 0, "sparsity": 0.0,
        "val": summary["regularise"]["val"], "stopped": "epochs ended",
    }  # fmt: skip


def test_the_evaluation_that_closes_a_phase_is_no_occasion_to_prune(tmp_path: Path) -> None:
    uneven = PhaseSettings(num_epochs=1, batch_size=5, evaluate_every_steps=3)
    summary = run(tmp_path, gate=OPEN, regularise=uneven)
    assert summary["regularise"]["num_evaluations"] == 3
    assert [point["step"] for point in summary["frontier"]] == [3, 6]


def test_dense_training_prunes_nothing_and_has_no_row_at_the_papers_sparsity(tmp_path: Path) -> None:
    dense = pruner("dense", 1e-3, prunes=False)
    summary = run(tmp_path, pruner=dense)
    assert (summary["frontier"], summary["missing_starts"]) == ([], ["paper_sparsity"])
    assert [(row["start"], row["sparsity"]) for row in summary["rows"]] == [("last", 0.0)]


def test_the_record_says_which_bound_was_used_and_why(tmp_path: Path) -> None:
    fallback = GateSettings(bound=100.0, policy="fallback", margin=100.0)
    gate = run(tmp_path, gate=fallback)["gate"]
    assert (gate["bound_printed"], gate["policy"]) == (100.0, "fallback")
    assert gate["bound_used"] <= 0.0
    assert "fell back to it minus the margin 100" in gate["why"]


def test_a_bound_on_the_loss_is_not_recorded_as_the_gates(tmp_path: Path) -> None:
    gate = lobster(tmp_path, plateau_evaluations=2, loss_tolerance=0.3).summary["gate"]
    assert (gate["bound_printed"], gate["bound_used"]) == (None, None)


def test_a_gate_that_is_to_fail_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"Nothing would ever be pruned: .* set gate\.bound below it or gate\.policy="):
        run(tmp_path, gate=replace(SHUT, policy="error"))


def lobster(results: Path, **schedule: Any) -> TinyRun:
    """A run of LOBSTER with an evaluation every other step, on weights that only prunes change: a plateau at once."""
    method = pruner("lobster", trigger="plateau")
    still = OptimizerSettings("sgd", lr=1e-30)
    length = PhaseSettings(num_epochs=2, batch_size=5, evaluate_every_steps=2, optimizer=still)
    return tiny_run(results, pruner=method, regularise=length, schedule=ScheduleSettings(**schedule))


def test_lobster_prunes_as_much_as_the_loss_tolerates_at_each_plateau(tmp_path: Path) -> None:
    run = lobster(tmp_path, plateau_evaluations=2, loss_tolerance=0.3)
    pruned = [row for row in run.rows("evaluation") if row["prune/done"]]
    assert pruned and run.summary["regularise"]["num_prunes"] == len(pruned)
    assert all(row["prune/reason"] == "no better loss for 2 evaluations" for row in pruned)


def test_the_loss_just_after_a_plateaus_prune_is_within_its_tolerance(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found, prune = [], GatedPruning._prune

    def and_measure(self: GatedPruning, *arguments: Any) -> None:
        prune(self, *arguments)
        found.append((float(self._phase.trainer.evaluate()["loss"]), self._trigger.bound))

    monkeypatch.setattr(GatedPruning, "_prune", and_measure)
    lobster(tmp_path, plateau_evaluations=2, loss_tolerance=0.3)
    assert found and all(bound is not None and loss <= bound for loss, bound in found)


@pytest.mark.parametrize("tolerable", range(20))
def test_the_most_weights_go_that_the_loss_tolerates(tolerable: int) -> None:
    gone = [0]

    @contextmanager
    def without(count: int) -> Iterator[None]:
        gone[0] = count
        yield

    phase: Any = SimpleNamespace(
        pruner=SimpleNamespace(num_kept=20, without=without),
        trainer=SimpleNamespace(evaluate=lambda: {"loss": float(gone[0])}),
    )
    trigger = Plateau(ScheduleSettings())
    trigger.bound = float(tolerable)
    alarms: Any = None
    assert GatedPruning(phase, trigger, Settings(), 1, alarms)._largest_tolerable() == tolerable


def test_lobster_ends_where_no_weight_can_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(GatedPruning, "_largest_tolerable", lambda self: 0)
    run = lobster(tmp_path, plateau_evaluations=2)
    assert run.summary["regularise"]["stopped"] == "no weight can go at a plateau"
    assert run.summary["regularise"]["num_prunes"] == 0


def test_a_restoring_plateau_goes_back_to_the_best_state_and_holds_the_prune_to_its_loss_measured_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    losses = iter([2.0, 1.0, 3.0, 3.0, 9.0, 8.0, 8.5, 8.5])  # of the eight evaluations, as the trigger is told
    decide, keep, prune = RestoringPlateau.decide, Phase.keep, GatedPruning._prune
    at_evaluation: dict[int, Tensor] = {}
    pruned: list[tuple[int, Tensor, bool]] = []

    def scripted(self: RestoringPlateau, step: int, metrics: Any) -> Decision:
        return decide(self, step, {"loss": next(losses)})

    def remember(self: Phase, name: str, **record: Any) -> None:
        keep(self, name, **record)
        if name == BEST_LOSS:
            at_evaluation[self.trainer.step] = self.model.state_dict()["fc1.weight"].clone()

    def look(self: GatedPruning, step: int, metric: float, count: int | None) -> None:
        loss = float(self._phase.trainer.evaluate()["loss"])
        pruned.append((step, self._phase.model.state_dict()["fc1.weight"].clone(), self._trigger.bound == loss * 1.3))
        prune(self, step, metric, count)

    monkeypatch.setattr(RestoringPlateau, "decide", scripted)
    monkeypatch.setattr(Phase, "keep", remember)
    monkeypatch.setattr(GatedPruning, "_prune", look)
    method = pruner("lobster", 0.01, trigger="restoring_plateau", decay="none")
    tiny_run(tmp_path, pruner=method, schedule=ScheduleSettings(plateau_evaluations=2, loss_tolerance=0.3))
    assert list(at_evaluation) == [2, 4, 10, 12]
    step, weight, is_held = pruned[0]
    assert step == 8 and is_held and torch.equal(weight, at_evaluation[4])


def test_a_restoring_plateau_that_tolerates_no_prune_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Pruner, "count_below", lambda self, threshold: 0)
    method = pruner("lobster", trigger="restoring_plateau")
    run = tiny_run(tmp_path, pruner=method, schedule=ScheduleSettings(plateau_evaluations=1))
    assert run.summary["regularise"]["num_prunes"] == 0
    assert run.summary["regularise"]["stopped"] == "epochs ended"


def test_thresholds_below_which_all_weights_are_end_the_run_instead_of_the_network(tmp_path: Path) -> None:
    high = replace(pruner("han", trigger="threshold"), method=pruner("han").method | {"q": 1e6})
    with pytest.raises(
        ValueError, match=r"^The scores of all \d+ weights that are left are below 1, so that none would"
    ):
        run(tmp_path, pruner=high)
