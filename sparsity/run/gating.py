"""What happens at an evaluation of the regularised phase? The trigger is asked, and weights are pruned or not."""

from typing import Any

from sparsity.pruning.schedules import Trigger
from sparsity.run.phase import Phase, State, Verdict
from sparsity.run.plan import reaches
from sparsity.settings import Settings
from sparsity.training.loop import Evaluation

NUM_PRE_PRUNE_STATES = 2


class GatedPruning:
    """The judge of the regularised phase (PAPER section 4, step 2).

    Keeps, beside the phase's own checkpoints: the last two states before a prune, and the state that first reaches the
    paper's sparsity: as it was cut, or, where the final phase starts before a cut, as the next evaluation finds it.

    Args:
        phase: whose network is pruned.
        trigger: says when.
        settings: how many, target sparsity, when to stop.
        num_evaluations_per_epoch: unit of the plateau stop.
    """

    def __init__(self, phase: Phase, trigger: Trigger, settings: Settings, num_evaluations_per_epoch: int) -> None:
        self.frontier: list[dict[str, Any]] = []
        self._phase, self._trigger, self._settings = phase, trigger, settings
        self._per_epoch = num_evaluations_per_epoch
        self._num_evaluations_since_prune = 0
        self._starts_before_cut = settings.protocol.start_before_cut

    @property
    def before_last_cut(self) -> str | None:
        """The name under which the state before the phase's last cut was kept, if its last evaluation made that cut."""
        is_last = bool(self.frontier) and self.frontier[-1]["step"] == self._phase.trainer.step
        return f"before_prune_{len(self.frontier) % NUM_PRE_PRUNE_STATES}" if is_last else None

    def judge(self, evaluation: Evaluation) -> Verdict:
        """Prune once if the trigger allows it, and stop if the target or a plateau is reached."""
        if not self._settings.pruner.prunes:
            return Verdict(reason=f"pruner={self._settings.pruner.name} removes nothing")
        found = self._phase.pruner.sparsity
        if self._starts_before_cut and self.frontier and self._num_evaluations_since_prune == 0:
            self._keep_if_reached(self.frontier[-1]["sparsity"], found)
        if not evaluation.is_scheduled:
            return Verdict(reason="closing evaluation of the phase", num_prunes=len(self.frontier))
        decision = self._trigger.decide(evaluation.metrics)
        self._num_evaluations_since_prune += 1
        count = self._largest_tolerable() if decision.fills_bound else None
        if count == 0:
            return Verdict(reason=decision.reason, num_prunes=len(self.frontier), stop="no weight can go at a plateau")
        if decision.prune:
            self._prune(evaluation.step, evaluation.metrics[self._settings.metric], count)
        figures = {"gate/bound": self._trigger.bound}
        reached = found if self._starts_before_cut else self._phase.pruner.sparsity
        return Verdict(decision.prune, decision.reason, len(self.frontier), self._stop(reached), figures)

    def record(self) -> dict[str, Any]:
        """The bound that was used and why, for summary.json."""
        settings = self._settings.gate
        return {
            "bound_printed": settings.bound,
            "bound_used": self._trigger.bound,
            "policy": settings.policy,
            "why": self._trigger.why,
        }

    def state_dict(self) -> State:
        """Plain values."""
        since = self._num_evaluations_since_prune
        return {"gate": self._trigger.state_dict(), "frontier": self.frontier, "num_evaluations_since_prune": since}

    def load_state_dict(self, state: State) -> None:
        """Restore what `state_dict` gave."""
        self._trigger.load_state_dict(state["gate"])
        self.frontier = state["frontier"]
        self._num_evaluations_since_prune = state["num_evaluations_since_prune"]

    def _largest_tolerable(self) -> int:
        """The most weights that can go while the validation loss stays within the trigger's bound, by bisection."""
        phase, low, high = self._phase, 0, self._phase.pruner.num_kept
        while high - low > 1:
            middle = (low + high) // 2
            with phase.pruner.without(middle):
                loss = float(phase.trainer.evaluate()["loss"])
            low, high = (middle, high) if loss <= self._trigger.bound else (low, middle)
        return low

    def _prune(self, step: int, metric: float, count: int | None) -> None:
        pruner, number = self._phase.pruner, len(self.frontier) + 1
        before = pruner.sparsity
        self._phase.keep(f"before_prune_{number % NUM_PRE_PRUNE_STATES}")
        pruner.prune(count)
        self._phase.trainer.reset_state(pruner.masks.multipliers)
        self.frontier.append({"prune": number, "step": step, "sparsity": before, "val": metric})
        self._num_evaluations_since_prune = 0
        if not self._starts_before_cut:
            self._keep_if_reached(before, pruner.sparsity)

    def _keep_if_reached(self, before: float, now: float) -> None:
        """Keep the state that is as sparse as the paper's, if none was `before`."""
        target, fraction = self._settings.gate.target_sparsity, self._settings.schedule.fraction
        if target is not None and reaches(now, target, fraction) and not reaches(before, target, fraction):
            self._phase.keep("paper_sparsity")  # Deviation 6

    def _stop(self, reached: float) -> str | None:
        target, plateau = self._settings.gate.stop_at_sparsity, self._settings.gate.plateau_epochs
        if target is not None and reaches(reached, target, self._settings.schedule.fraction):
            return f"reached gate.stop_at_sparsity={target:g}"
        if plateau is not None and self._num_evaluations_since_prune >= plateau * self._per_epoch:
            return f"no prune for {plateau} epochs"
        return None
