"""What happens at an evaluation of the regularised phase: the trigger is asked, and weights are pruned or not."""

from typing import Any

from sparsity.hardware import ranks
from sparsity.pruning.plateaus import bisect_threshold
from sparsity.pruning.triggers import Decision, Trigger
from sparsity.run.alarms import Alarms
from sparsity.run.controllers import Action
from sparsity.run.kept_states import State
from sparsity.run.phase import Phase
from sparsity.run.plan import reaches
from sparsity.settings import Settings
from sparsity.training.loop import Evaluation

BEFORE_CUT, BEST_LOSS = "before_cut", "best_loss"


class GatedPruning:
    """The controller of the regularised phase (the paper's section 4, step 2).

    Keeps, beside the phase's own checkpoints, the state that first reaches the paper's sparsity: as it was cut, or,
    where the final phase starts before a cut, as the next evaluation finds it; there also the one before the last. And
    where the trigger goes back to it, the one of the lowest validation loss since the last prune.

    Args:
        phase: whose network is pruned.
        trigger: says when.
        settings: how many, target sparsity, when to stop.
        num_evaluations_per_epoch: unit of the plateau stop.
        alarms: looks at the masks after each evaluation.
    """

    def __init__(
        self, phase: Phase, trigger: Trigger, settings: Settings, num_evaluations_per_epoch: int, alarms: Alarms
    ) -> None:
        self.frontier: list[dict[str, Any]] = []
        self._phase, self._trigger, self._settings, self.alarms = phase, trigger, settings, alarms
        self._per_epoch = num_evaluations_per_epoch
        self._num_evaluations_since_prune = 0
        self._starts_before_cut = settings.protocol.start_before_cut

    @property
    def before_last_cut(self) -> str | None:
        """The name under which the state before the phase's last cut was kept, if its last evaluation made that cut."""
        is_last = bool(self.frontier) and self.frontier[-1]["step"] == self._phase.trainer.step
        return BEFORE_CUT if is_last else None

    def begin(self) -> None:
        """Let the method see where it starts, and the gradients if the trigger says to prune before the first step."""
        phase = self._phase
        phase.pruner.method.begin()
        decision = self._trigger.begin() if self._settings.pruner.prunes else None
        if decision is not None:
            phase.trainer.score_gradients()
            metric = float(phase.trainer.evaluate()[self._settings.metric])
            self._prune(0, metric, self._count(decision))

    def act(self, evaluation: Evaluation) -> Action:
        """Prune once if the trigger allows it, and stop if the target or a plateau is reached."""
        if not self._settings.pruner.prunes:
            return Action(reason=f"pruner={self._settings.pruner.name} has no prunes")
        action = self._prune_or_not(evaluation)
        is_triggered = self._settings.pruner.trigger in ("gate", "plateau", "restoring_plateau")
        if evaluation.is_scheduled and not self._phase.pruner.method.only_finishes:
            self.alarms.look(evaluation.step, self._num_evaluations_since_prune if is_triggered else 0)
        return action

    def _prune_or_not(self, evaluation: Evaluation) -> Action:
        found = self._phase.pruner.sparsity
        if self._starts_before_cut and self.frontier and self._num_evaluations_since_prune == 0:
            self._keep_if_reached(self.frontier[-1]["sparsity"], found)
        if not evaluation.is_scheduled:
            return Action(reason="closing evaluation of the phase", num_prunes=len(self.frontier))
        decision = self._trigger.decide(evaluation.step, evaluation.metrics)
        self._num_evaluations_since_prune += 1
        if decision.is_best:
            self._phase.keep(BEST_LOSS)
        count = self._count(decision) if decision.prune else 0
        if count == 0 and decision.within_bound:
            return Action(reason=decision.reason, num_prunes=len(self.frontier), stop="no weight can go at a plateau")
        if count != 0:
            self._prune(evaluation.step, evaluation.metrics[self._settings.metric], count)
        bound = self._trigger.bound
        values = {} if bound is None else {"gate/bound": bound}
        reached = found if self._starts_before_cut else self._phase.pruner.sparsity
        return Action(count != 0, decision.reason, len(self.frontier), self._stop(reached), values)

    def record(self) -> dict[str, Any]:
        """The bound that was used and why, for summary.json."""
        settings, is_gate = self._settings.gate, self._settings.pruner.trigger == "gate"
        return {
            "bound_printed": settings.bound if is_gate else None,
            "bound_used": self._trigger.bound if is_gate else None,  # of others it is one on the loss
            "policy": settings.policy,
            "why": self._trigger.why,
        }

    def state_dict(self) -> State:
        """Plain values."""
        since = self._num_evaluations_since_prune
        own = {"frontier": self.frontier, "num_evaluations_since_prune": since}
        return {"gate": self._trigger.state_dict(), "alarms": self.alarms.state_dict(), **own}

    def load_state_dict(self, state: State) -> None:
        """Restore what `state_dict` gave."""
        self._trigger.load_state_dict(state["gate"])
        self.alarms.load_state_dict(state.get("alarms", {}))
        self.frontier = state["frontier"]
        self._num_evaluations_since_prune = state["num_evaluations_since_prune"]

    def _count(self, decision: Decision) -> int | None:
        """How many weights a prune removes; None is the scheduled fraction."""
        if decision.within_bound:
            return self._largest_tolerable()
        if decision.from_best:
            return self._tolerable_from_best()
        if decision.below is not None:
            return self._count_below(decision.below)
        return None if decision.to_sparsity is None else self._phase.pruner.count_to(decision.to_sparsity)

    def _count_below(self, threshold: float) -> int:
        count, num_kept = self._phase.pruner.count_below(threshold), self._phase.pruner.num_kept
        if count == num_kept:
            raise ValueError(
                f"The scores of all {num_kept:,} weights that are left are below {threshold:g}, so that none would "
                "stay: take a method that divides its scores by thresholds (pruner=han, sensitivity), or lower these."
            )
        return count

    def _largest_tolerable(self) -> int:
        """The most weights that can go while the validation loss stays within the trigger's bound, by bisection."""
        low, high = 0, self._phase.pruner.num_kept
        assert self._trigger.bound is not None, "a trigger without a bound names a sparsity"
        while high - low > 1:
            middle = (low + high) // 2
            is_tolerable = self._loss_without(middle) <= self._trigger.bound
            low, high = (middle, high) if is_tolerable else (low, middle)
        return low

    def _tolerable_from_best(self) -> int:
        """Go back to the best state since the last prune: how many weights are below the threshold that it allows."""
        pruner = self._phase.pruner
        self._phase.restore(self._phase.load(BEST_LOSS))
        loss = self._loss_without(0)
        self._trigger.bound = loss * (1 + self._settings.schedule.loss_tolerance)
        threshold = bisect_threshold(
            lambda of: self._loss_without(pruner.count_below(of)), loss, self._trigger.bound, pruner.sizes()
        )
        return pruner.count_below(threshold)

    def _loss_without(self, count: int) -> float:
        """The validation loss if `count` weights were removed."""
        with self._phase.pruner.without(count):
            return float(self._phase.trainer.evaluate()["loss"])

    def _prune(self, step: int, metric: float, count: int | None) -> None:
        pruner, number = self._phase.pruner, len(self.frontier) + 1
        before = pruner.sparsity
        if self._starts_before_cut:
            self._phase.keep(BEFORE_CUT)
        pruner.prune(count)
        here = ranks.here()
        if here.size > 1:
            here.check_equal(pruner.masks.digest(), f"The masks after prune {number}")
        self.frontier.append({"prune": number, "step": step, "sparsity": before, "val": metric})
        self._num_evaluations_since_prune = 0
        if not self._trigger.knows_its_end and not self._starts_before_cut:
            self._keep_if_reached(before, pruner.sparsity)

    def conclude(self) -> None:
        """At the end of the phase: keep the network as the one at the paper's sparsity, if a schedule ended there."""
        if self._trigger.knows_its_end and self._reaches(self._phase.pruner.sparsity):
            self._phase.keep("paper_sparsity")
        if self._settings.pruner.prunes:
            self.alarms.conclude(self._phase.trainer.step)

    def _keep_if_reached(self, before: float, now: float) -> None:
        """Keep the state that is as sparse as the paper's, if none was `before`."""
        if self._reaches(now) and not self._reaches(before):
            self._phase.keep("paper_sparsity")  # Deviation 6

    def _reaches(self, sparsity: float) -> bool:
        target = self._settings.gate.target_sparsity
        return target is not None and reaches(sparsity, target, self._settings.schedule.fraction)

    def _stop(self, reached: float) -> str | None:
        target, plateau = self._settings.gate.stop_at_sparsity, self._settings.gate.plateau_epochs
        if target is not None and reaches(reached, target, self._settings.schedule.fraction):
            return f"reached gate.stop_at_sparsity={target:g}"
        if plateau is not None and self._num_evaluations_since_prune >= plateau * self._per_epoch:
            return f"no prune for {plateau} epochs"
        return None
