"""Is each setting held to its range, with one clear sentence where it is not?"""

import math
import re
from dataclasses import replace
from typing import Any

import pytest

from sparsity.ranges import check
from sparsity.settings import (
    BaselineSettings,
    FinetuneSettings,
    GateSettings,
    LrScheduleSettings,
    MachineSettings,
    OptimizerSettings,
    PaperSettings,
    PenaltySettings,
    PhaseSettings,
    PrunerSettings,
    ScheduleSettings,
    Settings,
    leaves,
)

TRIGGERS = "gate, plateau, restoring_plateau, cubic, one_shot, threshold, own"


def with_penalty(**changes: Any) -> Settings:
    return Settings(pruner=PrunerSettings(penalty=PenaltySettings(**changes)))


def with_optimizer(**changes: Any) -> Settings:
    return Settings(regularise=PhaseSettings(optimizer=OptimizerSettings(**changes)))


WRONG = [
    (
        Settings(gate=GateSettings(bound=100.5)),
        "gate.bound=100.5 is out of range; it must be between -1 and 100.",
    ),
    (
        Settings(schedule=ScheduleSettings(fraction=-0.1)),
        "schedule.fraction=-0.1 is out of range; it must be between 1e-06 and 1.",
    ),
    (
        Settings(schedule=ScheduleSettings(fraction=0.0)),
        "schedule.fraction=0 is out of range; it must be between 1e-06 and 1.",
    ),
    (
        Settings(schedule=ScheduleSettings(fraction=4.0)),
        "schedule.fraction=4 is out of range; it must be between 1e-06 and 1.",
    ),
    (
        Settings(gate=GateSettings(plateau_epochs=9)),
        "gate.plateau_epochs=9 is out of range; it must be between 10 and 1000000000.",
    ),
    (
        Settings(gate=GateSettings(target_sparsity=99.71)),
        "gate.target_sparsity=99.71 is out of range; it must be between 0 and 1.",
    ),
    (Settings(seed=-1), "seed=-1 is out of range; it must be between 0 and 9223372036854775807."),
    (
        Settings(regularise=PhaseSettings(batch_size=0)),
        "regularise.batch_size=0 is out of range; it must be between 1 and 1000000000.",
    ),
    (
        Settings(finetune=FinetuneSettings(optimizer=OptimizerSettings(momentum=1.0))),
        "finetune.optimizer.momentum=1 is out of range; it must be at least 0 and below 1.",
    ),
    (
        with_penalty(strength=float("nan")),
        "pruner.penalty.strength=nan is out of range; it must be between 0 and 1e+30.",
    ),
    (Settings(scale="big"), "scale=big is unknown; choose one of paper, rehearsal, smoke."),
    (
        Settings(pruner=PrunerSettings(trigger="bell")),
        f"pruner.trigger=bell is unknown; choose one of {TRIGGERS}.",
    ),
    (
        Settings(pruner=PrunerSettings(prunes=True, trigger="cubic")),
        "pruner.trigger=cubic prunes to a sparsity that is not given: set gate.target_sparsity, e.g. "
        "gate.target_sparsity=0.9.",
    ),
    (
        Settings(
            pruner=PrunerSettings(prunes=True, trigger="cubic"),
            gate=GateSettings(target_sparsity=0.9),
            schedule=ScheduleSettings(begin=0.5, end=0.5),
        ),
        "schedule.begin=0.5 must lie before schedule.end=0.5: both are fractions of the phase.",
    ),
    (
        Settings(
            pruner=PrunerSettings(prunes=True, trigger="own"),
            schedule=ScheduleSettings(begin=0.8),
        ),
        "schedule.begin=0.8 must lie before schedule.end=0.75: both are fractions of the phase.",
    ),
    (
        Settings(baseline=BaselineSettings(optimizer=OptimizerSettings(name="lion"))),
        "baseline.optimizer.name=lion is unknown; choose one of adam, sgd.",
    ),
    (
        Settings(finetune=FinetuneSettings(start_from=["last", "best"])),
        "finetune.start_from=best is unknown; choose one of paper_sparsity, last.",
    ),
    (
        Settings(finetune=FinetuneSettings(start_from=[])),
        "finetune.start_from=[] is empty; name at least one of paper_sparsity, last.",
    ),
    (
        Settings(baseline=BaselineSettings(source="file")),
        "baseline.path is missing: baseline=file needs the path of a checkpoint, e.g. baseline.path=model.pt.",
    ),
    (
        Settings(regularise=PhaseSettings(batch_size=100, micro_batches=3)),
        "regularise.micro_batches=3 does not divide regularise.batch_size=100; choose a divisor.",
    ),
    *(
        (
            Settings(finetune=FinetuneSettings(optimizer=OptimizerSettings(betas=betas))),
            f"finetune.optimizer.betas=[{said}] must be two numbers, each at least 0 and below 1: "
            "write e.g. [0.9,0.999].",
        )
        for betas, said in (([], ""), ([0.9], "0.9"), ([0.9, 0.99, 0.999], "0.9,0.99,0.999"))
    ),
    (
        with_optimizer(betas=[0.9, 1.0]),
        "regularise.optimizer.betas=1 is out of range; it must be at least 0 and below 1.",
    ),
    (with_optimizer(eps=0.0), "regularise.optimizer.eps=0 is out of range; it must be between 1e-30 and 1."),
    (
        with_optimizer(lr=math.inf),
        "regularise.optimizer.lr=inf is out of range; it must be between 0 and 1e+30.",
    ),
    *(
        (
            Settings(regularise=PhaseSettings(lr_schedule=LrScheduleSettings("step", milestones))),
            f"regularise.lr_schedule.milestones=[{said}] must be at most 100 fractions of the phase, between 0 and 1 "
            "and each above the one before: write e.g. [0.5,0.75].",
        )
        for milestones, said in (
            ([0.75, 0.5], "0.75,0.5"),
            ([0.5, 0.5], "0.5,0.5"),
            ([80.0, 120.0], "80,120"),
            ([-0.1], "-0.1"),
        )
    ),
    (
        Settings(model={"share": math.nan}),
        "model.share=nan is no number to compute with; give a finite one.",
    ),
    (
        Settings(pruner=PrunerSettings(layer_sparsities={"fc1.weight": 1.5})),
        "pruner.layer_sparsities.fc1.weight=1.5 is out of range; it must be between 0 and 1.",
    ),
    (
        Settings(machine=MachineSettings(num_threads=10**400)),
        "machine.num_threads=100000000000000000000000... is out of range; it must be between 1 and 1024.",
    ),
    (
        Settings(model={"num_classes": 10**9}),
        "model.num_classes=1000000000 is out of range; it must be between 2 and 100000.",
    ),
    (
        Settings(dataset={"length_multiple": 0}),
        "dataset.length_multiple=0 is out of range; it must be between 1 and 1024.",
    ),
    (
        Settings(model={"vocabulary_size": 100}, dataset={"vocabulary_size": 200}),
        "dataset.vocabulary_size=200 is more than the 100 tokens that the network knows: set model.vocabulary_size "
        "alone, which the data then follow.",
    ),
    (
        Settings(dataset={"widths": [64, 32]}),
        "dataset.widths=[64, 32] must be whole numbers above 0, each above the one before: write e.g. [32,64,128].",
    ),
]


@pytest.mark.parametrize(("settings", "sentence"), WRONG, ids=[sentence.partition(" ")[0] for _, sentence in WRONG])
def test_a_setting_out_of_range_is_refused_in_one_sentence(settings: Settings, sentence: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(sentence)}$"):
        check(settings)


@pytest.mark.parametrize("name", ["", "..", "../out", "/tmp/out", "a/b", "a\\b", "a b", "a:b", "a.", "è", "x" * 101])
@pytest.mark.parametrize("path", ["experiment", "pruner.name", "sweep_name"])
def test_a_name_stays_in_the_results_folder(path: str, name: str) -> None:
    settings = Settings(pruner=PrunerSettings(name=name)) if path == "pruner.name" else Settings(**{path: name})
    sentence = (
        f"{path}={name} names a folder: give letters, digits, dots and hyphens only, at most 100, and no dot or hyphen "
        "at the end."
    )
    with pytest.raises(ValueError, match=f"^{re.escape(sentence)}$"):
        check(settings)


RIGHT = [
    Settings(),
    Settings(experiment="..mine_2-b", sweep_name="x" * 100),
    Settings(gate=GateSettings(bound=100.0, plateau_epochs=10, target_sparsity=1.0)),
    Settings(schedule=ScheduleSettings(fraction=1.0)),
    Settings(baseline=BaselineSettings(source="file", path="model.pt")),
    Settings(finetune=FinetuneSettings(start_from=["last"])),
]


@pytest.mark.parametrize("settings", RIGHT)
def test_what_lies_on_the_edge_is_allowed(settings: Settings) -> None:
    check(settings)


def test_leaves_come_in_the_order_of_declaration_under_dotted_paths() -> None:
    phase = PhaseSettings(num_epochs=2)
    assert [path for path, _ in leaves(phase)] == [
        "num_epochs",
        "batch_size",
        "micro_batches",
        "evaluate_every_steps",
        "max_steps",
        "optimizer.name",
        "optimizer.lr",
        "optimizer.betas",
        "optimizer.eps",
        "optimizer.momentum",
        "optimizer.weight_decay",
        "lr_schedule.name",
        "lr_schedule.milestones",
        "lr_schedule.step_factor",
        "lr_schedule.final_factor",
        "lr_schedule.patience",
        "lr_schedule.cooldown",
    ]


def test_leaves_carry_the_values_and_keep_dicts_whole() -> None:
    found = dict(leaves(Settings(model={"_target_": "a.b", "width": 3}, seed=4)))
    assert found["model"] == {"_target_": "a.b", "width": 3} and found["seed"] == 4


def full_length() -> Settings:
    return Settings(regularise=PhaseSettings(num_epochs=120), paper=PaperSettings(num_epochs=120))


def test_a_run_of_the_papers_length_is_not_shortened() -> None:
    assert not full_length().is_shortened


@pytest.mark.parametrize(
    "changes",
    [
        {"regularise": PhaseSettings(num_epochs=119)},
        {"regularise": PhaseSettings(num_epochs=120, max_steps=10)},
        {"baseline": BaselineSettings(max_steps=10)},
        {"finetune": FinetuneSettings(max_steps=10)},
        {"gate": GateSettings(stop_at_sparsity=0.9)},
    ],
    ids=["epochs", "steps", "baseline", "final phase", "stop"],
)
def test_a_run_that_is_cut_anywhere_is_shortened(changes: dict[str, Any]) -> None:
    assert replace(full_length(), **changes).is_shortened
