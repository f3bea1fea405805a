"""What happens at an evaluation of the regularised phase? The gate is asked, and weights are pruned or not."""

from typing import Any

from sparsity.phase import Phase, State, Verdict
from sparsity.plan import reaches
from sparsity.pruning.schedules import Gate
from sparsity.settings import Settings
from sparsity.training.loop import Evaluation

NUM_PRE_PRUNE_STATES = 2


class GatedPruning:
    """The judge of the regularised phase (PAPER section 4, step 2).

    Keeps, beside the phase's own checkpoints: the last two states before a prune, and the state that first reaches the
    paper's sparsity.

    Args:
        phase: whose network is pruned.
        gate: says when.
        settings: fraction, target sparsity, when to stop.
        num_evaluations_per_epoch: unit of the plateau stop.
    """

    def __init__(self, phase: Phase, gate: Gate, settings: Settings, num_evaluations_per_epoch: int) -> None:
        self.frontier: list[dict[str, Any]] = []
        self._phase, self._gate, self._settings = phase, gate, settings
        self._per_epoch = num_evaluations_per_epoch
        self._num_evaluations_since_prune = 0

    def judge(self, evaluation: Evaluation) -> Verdict:
        """Prune once if the gate allows it, and stop if the target or a plateau is reached."""
        if not self._settings.pruner.prunes:
            return Verdict(reason=f"pruner={self._settings.pruner.name} removes nothing")
        if not evaluation.is_scheduled:
            return Verdict(reason="closing evaluation of the phase", num_prunes=len(self.frontier))
        metric = evaluation.metrics[self._settings.metric]
        decision = self._gate.decide(metric)
        self._num_evaluations_since_prune += 1
        if decision.prune:
            self._prune(evaluation.step, metric)
        return Verdict(
            decision.prune, decision.reason, len(self.frontier), self._stop(), {"gate/bound": self._gate.bound}
        )

    def record(self) -> dict[str, Any]:
        """The bound that was used and why, for summary.json."""
        settings = self._settings.gate
        return {
            "bound_printed": settings.bound,
            "bound_used": self._gate.bound,
            "policy": settings.policy,
            "why": self._gate.why,
        }

    def state_dict(self) -> State:
        """Plain values."""
        since = self._num_evaluations_since_prune
        return {"gate": self._gate.state_dict(), "frontier": self.frontier, "num_evaluations_since_prune": since}

    def load_state_dict(self, state: State) -> None:
        """Restore what `state_dict` gave."""
        self._gate.load_state_dict(state["gate"])
        self.frontier = state["frontier"]
        self._num_evaluations_since_prune = state["num_evaluations_since_prune"]

    def _prune(self, step: int, metric: float) -> None:
        pruner, number = self._phase.pruner, len(self.frontier) + 1
        before = pruner.sparsity
        self._phase.keep(f"before_prune_{number % NUM_PRE_PRUNE_STATES}")
        pruner.prune()
        self._phase.trainer.reset_state(pruner.masks.multipliers)
        self.frontier.append({"prune": number, "step": step, "sparsity": before, "val": metric})
        self._num_evaluations_since_prune = 0
        target, fraction = self._settings.gate.target_sparsity, self._settings.schedule.fraction
        if target is not None and reaches(pruner.sparsity, target, fraction) and not reaches(before, target, fraction):
            self._phase.keep("paper_sparsity")  # Deviation 6

    def _stop(self) -> str | None:
        target, plateau = self._settings.gate.stop_at_sparsity, self._settings.gate.plateau_epochs
        reached = self._phase.pruner.sparsity
        if target is not None and reaches(reached, target, self._settings.schedule.fraction):
            return f"reached gate.stop_at_sparsity={target:g}"
        if plateau is not None and self._num_evaluations_since_prune >= plateau * self._per_epoch:
            return f"no prune for {plateau} epochs"
        return None
