"""Does the plan's arithmetic give the figures that were worked out by hand for the paper's experiments?"""

from dataclasses import replace
from typing import Any

import pytest

from sparsity import config
from sparsity.run.plan import (
    checkpoint_bytes,
    make_plan,
    most_written_bytes,
    plan_phase,
    prunes_needed,
    reaches,
    record_bytes,
    shrinkage_bound,
    uncut,
)
from sparsity.settings import (
    BaselineSettings,
    FinetuneSettings,
    GateSettings,
    OptimizerSettings,
    PhaseSettings,
    ProtocolSettings,
    PrunerSettings,
    ScheduleSettings,
    Settings,
    TrackingSettings,
)
from tests.pruners import pruner

SGD = OptimizerSettings("sgd", momentum=0.9)
RESNET = PhaseSettings(290, 128, evaluate_every_steps=25, optimizer=replace(SGD, lr=5e-4))
VGG = PhaseSettings(30, 100, evaluate_every_steps=2500, optimizer=replace(SGD, lr=1e-4))
IMAGENET_TRAIN = 1_281_167


def settings(regularise: PhaseSettings, **changes: Any) -> Settings:
    """A run of the paper's method that prunes 1 % at a time, with the entries in `changes` replaced."""
    method = pruner("relevance", 1e-4)
    run = Settings(regularise=regularise, pruner=method, schedule=ScheduleSettings(0.01))
    return replace(run, **changes)


@pytest.mark.parametrize(
    ("name", "sparsity", "fraction", "needed"),
    [
        ("lenet5_mnist", 0.9971, 0.04, 143),
        ("lenet5_fashion_mnist", 0.9766, 0.04, 92),
        ("resnet32_cifar10", 0.8127, 0.04, 41),  # 81.24 %, a thirtieth of a prune short of the print
        ("vgg16_imagenet", 0.9282, 0.01, 262),
        ("the smoke runs' round target", 0.95, 0.1, 29),  # 28 prunes are short by half a prune
    ],
)
def test_the_papers_sparsity_needs_the_papers_number_of_prunes(
    name: str, sparsity: float, fraction: float, needed: int
) -> None:
    assert prunes_needed(sparsity, fraction) == needed


@pytest.mark.parametrize("target", [0.05, 0.45, 0.8127, 0.9282, 0.95, 0.9971, 1.0])
@pytest.mark.parametrize("fraction", [0.01, 0.04, 0.1, 0.5])
def test_the_prunes_needed_are_the_first_that_reach_the_target(target: float, fraction: float) -> None:
    needed = prunes_needed(target, fraction)
    assert reaches(1 - (1 - fraction) ** needed, target, fraction)
    assert not reaches(1 - (1 - fraction) ** (needed - 1), target, fraction)


@pytest.mark.parametrize(
    ("target", "fraction", "needed"), [(0.75, 0.5, 2), (0.77, 0.5, 3), (0.0, 0.5, 0), (0.9, 1.0, 1)]
)
def test_prunes_needed_in_small_cases(target: float, fraction: float, needed: int | None) -> None:
    assert prunes_needed(target, fraction) == needed


def test_a_target_is_reached_to_the_precision_of_its_print() -> None:
    assert reaches(0.99706, 0.9971, fraction=0.01) and not reaches(0.99704, 0.9971, fraction=0.01)


def test_a_target_is_reached_when_less_than_a_tenth_of_the_next_prune_is_missing() -> None:
    assert reaches(0.799, 0.8, fraction=0.051) and not reaches(0.799, 0.8, fraction=0.049)


def test_the_evaluations_of_a_phase_are_counted_epoch_by_epoch() -> None:
    plan = plan_phase(PhaseSettings(num_epochs=3, batch_size=10, evaluate_every_steps=4), num_train=109)
    assert (plan.num_steps, plan.num_evaluations) == (30, 6)


def test_without_an_interval_there_is_one_evaluation_an_epoch() -> None:
    assert plan_phase(PhaseSettings(num_epochs=3, batch_size=10), num_train=100).num_evaluations == 3


@pytest.mark.parametrize(("max_steps", "evaluations"), [(14, 3), (13, 2), (10, 2), (1000, 6)])
def test_max_steps_cuts_the_evaluations_too(max_steps: int, evaluations: int) -> None:
    phase = PhaseSettings(num_epochs=3, batch_size=10, evaluate_every_steps=4, max_steps=max_steps)
    assert plan_phase(phase, 100).num_evaluations == evaluations


def test_less_data_than_a_batch_makes_no_step() -> None:
    assert plan_phase(PhaseSettings(num_epochs=3, batch_size=10), num_train=9).num_steps == 0


def test_lenet_on_mnist_offers_more_evaluations_than_it_needs_prunes() -> None:
    run = settings(
        PhaseSettings(120, 100, evaluate_every_steps=250),
        gate=GateSettings(target_sparsity=0.9971),
        schedule=ScheduleSettings(0.04),
    )
    plan = make_plan(run, 55_000)
    assert (plan.regularise.num_steps, plan.regularise.num_evaluations, plan.prunes_needed) == (66_000, 240, 143)
    assert plan.is_reachable and plan.warnings == ()


def test_vgg_as_printed_cannot_reach_the_papers_sparsity_and_the_plan_says_so() -> None:
    plan = make_plan(settings(VGG, gate=GateSettings(target_sparsity=0.9282)), IMAGENET_TRAIN)
    assert plan.regularise.num_evaluations == 150 and not plan.is_reachable
    assert plan.highest_sparsity == pytest.approx(0.779, abs=1e-3)
    unreachable = (
        f"{plan.prunes_needed} prunes are needed for 92.82 % sparsity, but there are only 150 evaluations: "
        "at most 77.85 % can be reached."
    )
    assert unreachable in plan.warnings


def test_stop_at_sparsity_takes_the_place_of_the_papers_sparsity() -> None:
    gate = GateSettings(target_sparsity=0.9282, stop_at_sparsity=0.5)
    assert make_plan(settings(VGG, gate=gate), IMAGENET_TRAIN).prunes_needed == prunes_needed(0.5, 0.01)


def test_a_pruner_that_removes_nothing_needs_no_prunes() -> None:
    plan = make_plan(settings(VGG, pruner=PrunerSettings(), gate=GateSettings(target_sparsity=0.9)), IMAGENET_TRAIN)
    assert plan.prunes_needed is None and plan.is_reachable and plan.highest_sparsity == 0.0


def test_the_penalty_of_resnet_can_shrink_a_weight_by_a_thousandth_at_most() -> None:
    penalty, num_steps = pruner("relevance", 1e-6).penalty, plan_phase(RESNET, 45_000).num_steps
    assert shrinkage_bound(penalty, RESNET, num_steps) == pytest.approx(0.001, rel=0.05)


def test_the_penalty_of_vgg_can_shrink_a_weight_by_some_percent_at_most() -> None:
    penalty, num_steps = pruner("relevance", 1e-4).penalty, plan_phase(VGG, IMAGENET_TRAIN).num_steps
    assert shrinkage_bound(penalty, VGG, num_steps) == pytest.approx(0.077, abs=5e-4)


@pytest.mark.parametrize(
    ("kind", "optimizer"),
    [("relevance", OptimizerSettings("adam")), ("dense", SGD), ("l1", SGD), ("l2", replace(SGD, momentum=1.0))],
)
def test_there_is_no_bound_of_the_shrinkage_where_the_formula_does_not_hold(
    kind: str, optimizer: OptimizerSettings
) -> None:
    phase = PhaseSettings(1, optimizer=optimizer)
    assert shrinkage_bound(pruner(kind, 1e-3).penalty, phase, 100) is None


def test_an_idle_penalty_is_warned_of() -> None:
    method = pruner("relevance", 1e-6)
    (warning,) = make_plan(settings(RESNET, pruner=method), 45_000).warnings
    assert warning == (
        "The penalty can shrink a weight by at most 0.1 % over the phase: "
        "expect relevance, L2 and magnitude to coincide."
    )


def test_a_penalty_that_can_shrink_weights_is_not_warned_of() -> None:
    method = pruner("relevance", 1e-2)
    assert make_plan(settings(VGG, pruner=method), IMAGENET_TRAIN).warnings == ()


def test_a_phase_without_scheduled_evaluation_is_warned_of() -> None:
    plan = make_plan(settings(PhaseSettings(1, 100, evaluate_every_steps=1000)), 5_000)
    assert plan.warnings == (
        "The regularised phase has no scheduled evaluation, so nothing is pruned: lower evaluate_every_steps.",
    )


def three_phases(source: str) -> Settings:
    baseline = BaselineSettings(num_epochs=2, source=source)
    finetune = FinetuneSettings(num_epochs=3, start_from=["paper_sparsity", "last"])
    return settings(PhaseSettings(num_epochs=5), baseline=baseline, finetune=finetune)


def test_all_steps_are_those_of_the_baseline_the_regularised_phase_and_each_final_phase() -> None:
    assert make_plan(three_phases("train"), 1_000).num_steps == 20 + 50 + 2 * 30


def test_all_evaluations_are_counted_likewise() -> None:
    assert make_plan(three_phases("train"), 1_000).num_evaluations == 2 + 5 + 2 * 3


@pytest.mark.parametrize("source", ["none", "file", "published"])
def test_a_baseline_that_is_not_trained_here_takes_no_steps(source: str) -> None:
    assert make_plan(three_phases(source), 1_000).baseline.num_steps == 0


def test_the_plan_in_one_line_gives_steps_prunes_and_evaluations() -> None:
    run = replace(three_phases("train"), gate=GateSettings(target_sparsity=0.5), schedule=ScheduleSettings(0.5))
    assert make_plan(run, 100_000).describe() == (
        "13,000 steps (baseline 2,000, regularised 5,000, final 2 x 3,000); prunes needed 1, evaluations available 5"
    )


def test_without_a_target_the_line_says_nothing_of_prunes() -> None:
    assert "prunes needed" not in make_plan(three_phases("train"), 1_000).describe()


def test_the_record_holds_what_the_summary_promises() -> None:
    run = replace(three_phases("train"), gate=GateSettings(target_sparsity=0.5), schedule=ScheduleSettings(0.5))
    record = make_plan(run, 1_000).record()
    found = (record.num_steps, record.num_evaluations, record.prunes_needed, record.reachable)
    assert found == (50, 5, 1, True)


def test_an_uncut_run_has_no_max_steps_and_nothing_else_changed() -> None:
    whole = three_phases("train")
    cut = replace(
        whole,
        baseline=replace(whole.baseline, max_steps=1),
        regularise=replace(whole.regularise, max_steps=2),
        finetune=replace(whole.finetune, max_steps=3),
    )
    assert uncut(cut) == whole


NUM_WEIGHTS = 1000
NETWORK_BYTES = 4 * NUM_WEIGHTS + NUM_WEIGHTS // 4  # floats, and the bits of a mask and of signs


def disk(optimizer: OptimizerSettings, **changes: Any) -> int:
    """What a run of two final phases leaves, every phase of it with this optimiser."""
    phases = {"regularise": PhaseSettings(1, optimizer=optimizer), "finetune": FinetuneSettings(1, optimizer=optimizer)}
    return checkpoint_bytes(settings(**phases, **changes), NUM_WEIGHTS)


@pytest.mark.parametrize(("optimizer", "moments"), [(OptimizerSettings("adam"), 2), (SGD, 1)])
def test_the_two_states_that_a_phase_resumes_from_hold_what_the_optimiser_remembers(
    optimizer: OptimizerSettings, moments: int
) -> None:
    num_phases, num_states = 3, 2
    more = num_phases * num_states * moments * 4 * NUM_WEIGHTS
    assert disk(optimizer) - disk(replace(SGD, momentum=0.0)) == more


@pytest.mark.parametrize(
    ("name", "knobs", "is_each"),
    [
        ("sparse_vd", {}, True),
        ("movement", {}, True),
        ("l0", {"granularity": "weight"}, True),
        ("l0", {"granularity": "group"}, False),
        ("dns", {}, False),
    ],
)
def test_a_regularised_state_holds_one_parameter_a_weight_and_its_moments_where_the_method_has_them(
    name: str, knobs: dict[str, Any], is_each: bool
) -> None:
    method = config.compose([f"pruner={name}"]).pruner.method | knobs
    numbers = (1 + 2) * NUM_WEIGHTS * is_each  # with Adam
    adam, own = OptimizerSettings("adam"), PrunerSettings(prunes=True, method=method)
    plain = replace(own, method=PrunerSettings().method)
    assert disk(adam, pruner=own) - disk(adam, pruner=plain) == 2 * 4 * numbers
    phases = {"regularise": PhaseSettings(1, optimizer=adam), "finetune": FinetuneSettings(0, optimizer=adam)}
    written = [
        most_written_bytes(run, NUM_WEIGHTS, make_plan(run, 1000))  # one evaluation
        for run in (settings(**phases, pruner=own), settings(**phases, pruner=plain))
    ]
    assert written[0] - written[1] == 4 * numbers


def test_a_trained_baseline_takes_two_states_to_resume_from_and_two_networks() -> None:
    trained = BaselineSettings(1, source="train", optimizer=SGD)
    assert disk(SGD, baseline=trained) - disk(SGD) == 4 * NETWORK_BYTES + 2 * 4 * NUM_WEIGHTS


def test_what_is_written_over_time_is_a_state_and_a_network_at_each_evaluation_and_one_more_at_each_cut() -> None:
    phases = {"regularise": PhaseSettings(1, optimizer=SGD), "finetune": FinetuneSettings(0, optimizer=SGD)}
    gate = GateSettings(target_sparsity=0.5)
    run = settings(**phases, gate=gate)
    plan = make_plan(run, 1000)  # one evaluation of one state with a moment
    assert most_written_bytes(run, NUM_WEIGHTS, plan) == 2 * NETWORK_BYTES + 4 * NUM_WEIGHTS
    before = replace(run, protocol=ProtocolSettings(start_before_cut=True))
    more = most_written_bytes(before, NUM_WEIGHTS, plan) - most_written_bytes(run, NUM_WEIGHTS, plan)
    assert more == 69 * NETWORK_BYTES, "0.99^69 is the first below a half"


def test_a_record_keeps_one_row_in_so_many_steps() -> None:
    run = settings(PhaseSettings(1))
    plan = make_plan(run, 1000)
    assert record_bytes(run, plan) == 10 * 240
    assert record_bytes(replace(run, tracking=TrackingSettings(every_steps=10)), plan) == 240


def test_a_final_phase_that_starts_before_a_cut_takes_one_network_more() -> None:
    before_cut = ProtocolSettings(start_before_cut=True)
    assert disk(SGD, protocol=before_cut) - disk(SGD) == NETWORK_BYTES
    dense = PrunerSettings()
    assert disk(SGD, protocol=before_cut, pruner=dense) == disk(SGD, pruner=dense), "which cuts nothing"


def test_a_restoring_plateau_keeps_one_network_more() -> None:
    restoring, plain = (pruner("lobster", trigger=trigger) for trigger in ("restoring_plateau", "plateau"))
    assert disk(SGD, pruner=restoring) - disk(SGD, pruner=plain) == NETWORK_BYTES


def test_a_start_that_is_not_asked_for_takes_neither_its_network_nor_a_final_phase() -> None:
    both, last = (
        checkpoint_bytes(
            settings(PhaseSettings(1, optimizer=SGD), finetune=FinetuneSettings(1, optimizer=SGD, start_from=starts)),
            NUM_WEIGHTS,
        )
        for starts in (["paper_sparsity", "last"], ["last"])
    )
    two_states_and_a_network = 3 * NETWORK_BYTES + 2 * 4 * NUM_WEIGHTS
    assert both - last == NETWORK_BYTES + two_states_and_a_network
