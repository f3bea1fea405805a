"""How long a run is and which sparsity it can reach: arithmetic on the settings, free of torch."""

import math
from dataclasses import dataclass, fields, replace

from sparsity import records
from sparsity.records import PhasePlan
from sparsity.settings import PenaltySettings, PhaseSettings, PrunerSettings, Settings, leaf_name

NEGLIGIBLE_SHRINKAGE = 0.1
PRINTED_PRECISION = 5e-5  # the paper prints sparsities in percent with two decimals
NEGLIGIBLE_SHARE = 0.1  # of the next prune
ROW_BYTES = 240  # of a step in metrics.jsonl


@dataclass(frozen=True)
class RunPlan:
    """What a run will do: its phases, and the prunes it needs against the evaluations it has.

    `prunes_needed` is None without a target sparsity, or for a pruner that removes nothing.
    """

    baseline: PhasePlan
    regularise: PhasePlan
    finetune: PhasePlan
    num_starts: int
    prunes_needed: int | None
    highest_sparsity: float
    shrinkage_bound: float | None
    warnings: tuple[str, ...]

    @property
    def num_steps(self) -> int:
        """Steps of all phases together."""
        return self.baseline.num_steps + self.regularise.num_steps + self.num_starts * self.finetune.num_steps

    @property
    def num_evaluations(self) -> int:
        """Scheduled evaluations of all phases together."""
        phases = (self.baseline, self.regularise, *[self.finetune] * self.num_starts)
        return sum(phase.num_evaluations for phase in phases)

    def seconds(self, step_seconds: float, evaluation_seconds: float) -> float:
        """How long the run takes at a measured pace."""
        return self.num_steps * step_seconds + self.num_evaluations * evaluation_seconds

    @property
    def is_reachable(self) -> bool:
        """Whether there are evaluations enough for the prunes needed."""
        return self.prunes_needed is None or self.prunes_needed <= self.regularise.num_evaluations

    def describe(self) -> str:
        """The plan in one line, for the terminal."""
        needed = "" if self.prunes_needed is None else f"prunes needed {self.prunes_needed}, "
        baseline, regularised, final = (p.num_steps for p in (self.baseline, self.regularise, self.finetune))
        return (
            f"{self.num_steps:,} steps (baseline {baseline:,}, regularised {regularised:,}, "
            f"final {self.num_starts} x {final:,}); {needed}evaluations available {self.regularise.num_evaluations}"
        )

    def record(self) -> records.Plan:
        """The plan for summary.json."""
        known = {entry.name: getattr(self, entry.name) for entry in fields(self)}
        return records.Plan(
            **known,
            num_steps=self.regularise.num_steps,
            num_evaluations=self.regularise.num_evaluations,
            reachable=self.is_reachable,
        )


def make_plan(settings: Settings, num_train: int) -> RunPlan:
    """The plan of a run on `num_train` training examples."""
    regularise = plan_phase(settings.regularise, num_train)
    has_baseline = settings.baseline.source == "train"
    is_pruned = settings.pruner.prunes
    is_counted = is_pruned and settings.pruner.trigger == "gate"  # a plateau's prunes have no fixed size
    fraction = settings.schedule.fraction if is_counted else 0.0
    target = settings.gate.stop_at_sparsity or settings.gate.target_sparsity
    needed = None if target is None or not is_counted else prunes_needed(target, fraction)
    plan = RunPlan(
        baseline=plan_phase(settings.baseline_phase, num_train) if has_baseline else PhasePlan(0, 0),
        regularise=regularise,
        finetune=plan_phase(settings.finetune, num_train),
        num_starts=len(settings.finetune.start_from),
        prunes_needed=needed,
        highest_sparsity=1 - (1 - fraction) ** regularise.num_evaluations if is_counted else float(is_pruned),
        shrinkage_bound=shrinkage_bound(settings.pruner.penalty, settings.regularise, regularise.num_steps),
        warnings=(),
    )
    return replace(plan, warnings=tuple(_warnings(plan, target)))


def uncut(settings: Settings) -> Settings:
    """The same settings without `max_steps`: what a shortened or rehearsed run stands for."""
    phases = ("baseline", "regularise", "finetune")
    return replace(settings, **{name: replace(getattr(settings, name), max_steps=None) for name in phases})


def plan_phase(phase: PhaseSettings, num_train: int) -> PhasePlan:
    """Steps and scheduled evaluations of a phase on `num_train` examples.

    The last partial batch of an epoch is dropped, and the evaluation counter restarts with every epoch.
    """
    steps_per_epoch = num_train // phase.batch_size
    num_steps = phase.num_epochs * steps_per_epoch
    if phase.max_steps is not None:
        num_steps = min(num_steps, phase.max_steps)
    every = phase.evaluate_every_steps or steps_per_epoch
    if steps_per_epoch == 0:
        return PhasePlan(0, 0)
    epochs, rest = divmod(num_steps, steps_per_epoch)
    return PhasePlan(num_steps, epochs * (steps_per_epoch // every) + rest // every)


def checkpoint_bytes(settings: Settings, num_weights: int) -> int:
    """What a run's checkpoints take on disk when it ends, those of a baseline that it trains included.

    A network is kept with its mask and the signs of what was pruned as bits. Each phase holds the two newest states to
    resume from and its best network; the regularised one also its last, the one at the paper's sparsity and, where the
    final phase starts before a cut, the one before the latest; a restoring plateau also the one of the lowest loss.
    """
    network = network_bytes(num_weights)

    def phase_bytes(phase: PhaseSettings, num_networks: int, num_own: int = 0) -> int:
        return 2 * state_bytes(phase, num_weights, num_own) + num_networks * network

    starts = settings.finetune.start_from
    num_kept = 2 + ("paper_sparsity" in starts) + (settings.pruner.prunes and settings.protocol.start_before_cut)
    num_kept += settings.pruner.trigger == "restoring_plateau"
    baseline = phase_bytes(settings.baseline, 2) if settings.baseline.source == "train" else 0
    regularised = phase_bytes(settings.regularise, num_kept, own_numbers(settings.pruner, num_weights))
    return baseline + regularised + len(starts) * phase_bytes(settings.finetune, 1)


def most_written_bytes(settings: Settings, num_weights: int, plan: RunPlan) -> int:
    """What a run writes over its time at most: at each evaluation a state and a best network, before each cut another.

    A state is written every `machine.checkpoint_every_seconds` only, and a network where it is the best: it is less.
    """
    network, starts_before_cut = network_bytes(num_weights), settings.protocol.start_before_cut
    phases = [(settings.baseline, plan.baseline), (settings.regularise, plan.regularise)]
    phases += [(settings.finetune, plan.finetune)] * plan.num_starts
    states = sum(of.num_evaluations * (state_bytes(phase, num_weights) + network) for phase, of in phases)
    own = state_bytes(settings.regularise, 0, own_numbers(settings.pruner, num_weights))
    states += plan.regularise.num_evaluations * own
    return states + starts_before_cut * (plan.prunes_needed or 0) * network


def record_bytes(settings: Settings, plan: RunPlan) -> int:
    """What the record's rows of steps take, about; the mirror at W&B holds as many."""
    return ROW_BYTES * plan.num_steps // settings.tracking.every_steps


def network_bytes(num_weights: int) -> int:
    """A network with its mask and the signs of what was pruned, as bits."""
    return 4 * num_weights + num_weights // 4


def state_bytes(phase: PhaseSettings, num_weights: int, num_own: int = 0) -> int:
    """A state to resume from: the network, the method's own parameters, and what the optimiser remembers of both."""
    moments = 2 if phase.optimizer.name == "adam" else int(phase.optimizer.momentum > 0)
    return network_bytes(num_weights) + 4 * num_own + 4 * (num_weights + num_own) * moments


def own_numbers(pruner: PrunerSettings, num_weights: int) -> int:
    """Parameters of a method's own that a state holds, at most: one a weight, where they are not few."""
    name = leaf_name(pruner.method)
    is_each = name in ("SparseVd", "Movement") or (name == "L0" and pruner.method["granularity"] == "weight")
    return num_weights * is_each


def prunes_needed(target_sparsity: float, fraction: float) -> int:
    """Prunes of `fraction`, in (0, 1], of the remaining weights after which `target_sparsity` is reached."""
    if reaches(0.0, target_sparsity, fraction):
        return 0
    if fraction >= 1.0:
        return 1
    left = 1 - target_sparsity
    remaining = max(left + PRINTED_PRECISION, left / (1 - NEGLIGIBLE_SHARE * fraction))
    return math.ceil(math.log(remaining) / math.log(1 - fraction))


def reaches(sparsity: float, target: float, fraction: float) -> bool:
    """Whether a sparsity is the target or more, or as near to it as prunes of `fraction` can sensibly come.

    A sparsity counts as the target if it is short of it by no more than the target's print, or by no more than a tenth
    of what the next prune would remove. Where the paper prints 81.27 % for ResNet-32, 41 prunes of 4 % give 81.24 % and
    42 would give 82.00 %: the row to be compared is the one short by a thirtieth of a prune, not the one that is 29
    times as far beyond. A tenth is no more, so that no row is noticeably denser than the paper's.
    """
    return sparsity >= target - max(PRINTED_PRECISION, NEGLIGIBLE_SHARE * fraction * (1 - sparsity))


def shrinkage_bound(penalty: PenaltySettings, phase: PhaseSettings, num_steps: int) -> float | None:
    """An upper bound of the fraction by which SGD and a penalty like weight decay shrink a weight; None for what else.

    2 eta lambda steps / (1 - momentum), with I = 1 and no decay of lambda: below some percent relevance, L2 and plain
    magnitude pruning cannot differ.
    """
    optimizer = phase.optimizer
    if optimizer.name != "sgd" or not penalty.is_weight_decay or optimizer.momentum >= 1.0:
        return None
    return 2 * optimizer.lr * penalty.strength * num_steps / (1 - optimizer.momentum)


def _warnings(plan: RunPlan, target: float | None) -> list[str]:
    found = []
    if not plan.is_reachable:
        available = plan.regularise.num_evaluations
        found.append(
            f"{plan.prunes_needed} prunes are needed for {100 * (target or 0):.2f} % sparsity, but there are only "
            f"{available} evaluations: at most {100 * plan.highest_sparsity:.2f} % can be reached."
        )
    if plan.regularise.num_steps > 0 and plan.regularise.num_evaluations == 0:
        found.append(
            "The regularised phase has no scheduled evaluation, so nothing is pruned: lower evaluate_every_steps."
        )
    if plan.shrinkage_bound is not None and plan.shrinkage_bound < NEGLIGIBLE_SHRINKAGE:
        found.append(
            f"The penalty can shrink a weight by at most {100 * plan.shrinkage_bound:.1f} % over the phase: "
            "expect relevance, L2 and magnitude to coincide."
        )
    return found
