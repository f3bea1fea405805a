"""The way from the sound protocol to the authors', from the departures of the runs that stand on it."""

from pathlib import Path

import pytest
from matplotlib.patches import Rectangle

from sparsity.report.audit import Audit, Stage, Step, load_audit, stages
from sparsity.report.blocks import Figure, Prose, Table
from sparsity.report.page import load_sections
from sparsity.report.plots.audit import Bar, draw_audit
from sparsity.report.waterfall import audit_section
from sparsity.settings import ProtocolSettings, leaves
from tests.report.fake_results import REPOSITORY, AddRun, row, summary

MNIST, FASHION = "lenet5_mnist", "lenet5_fashion_mnist"
COUNT, TEST, REPORT = "protocol.count_before_use", "protocol.test_set_gates", "protocol.report"
AUDIT = Audit(
    (0, 1),
    (
        Step(f"{COUNT}=true", "lambda", (MNIST, FASHION)),
        Step(f"{TEST}=true", "the test set", (MNIST,)),
        Step(f"{REPORT}=any_phase", "the best", (MNIST, FASHION)),
    ),
)
ALL = [path for path, _ in leaves(ProtocolSettings(), "protocol.")] + ["gate.policy"]


def add(add_run: AddRun, keys: list[str], tests: list[float], best: float | None = None, **changes: object) -> None:
    """A seed for each test metric, under the protocol with these keys; `best` is the row of the best of all states."""
    for seed, test in enumerate(tests):
        rows = [row(test=test)] + ([] if best is None else [row("best_of_all", test=best + test - tests[0])])
        settings = summary()["settings"] | {key: True for key in keys}
        name = "-".join(key[-4:] for key in keys)[:12] or "sound"
        protocol = {"protocol": "mixed", "departures": keys} if keys else {}
        add_run(**{"seed": seed, "rows": rows, "settings": settings, "fingerprint": name, **protocol, **changes})


def way(results: Path) -> list[Stage]:
    paper, ours = load_sections(results)[0]
    assert paper.experiment == MNIST
    return stages(paper, ours, AUDIT)


def blocks(results: Path) -> list[object]:
    return list(audit_section(load_sections(results)[:1], AUDIT))


def rows(results: Path) -> list[tuple[str, ...]]:
    (table,) = [block for block in blocks(results) if isinstance(block, Table)]
    return list(table.rows)


def test_each_stage_has_the_runs_with_all_keys_up_to_it(results: Path, add_run: AddRun) -> None:
    add(add_run, [], [99.0, 99.1])
    add(add_run, [COUNT], [99.05, 99.15])
    add(add_run, [COUNT, TEST], [99.2, 99.2])
    found = [(stage.name, stage.tests) for stage in way(results)]
    assert found[:3] == [
        ("sound", {0: 99.0, 1: 99.1}),
        ("count_before_use", {0: 99.05, 1: 99.15}),
        ("test_set_gates", {0: 99.2, 1: 99.2}),
    ]
    assert found[3] == ("report", {})


def test_the_authors_whole_protocol_is_the_last_training_step_and_holds_the_reported_state(
    results: Path, add_run: AddRun
) -> None:
    add(add_run, [], [99.0])
    add(add_run, ALL, [99.2], best=99.3)
    *_, last, report = way(results)
    assert (last.name, last.tests) == ("test_set_gates", {0: 99.2})
    assert (report.name, report.tests) == ("report", {0: 99.3})


def test_where_the_bound_fell_back_its_policy_is_a_key_that_matters(results: Path, add_run: AddRun) -> None:
    add(add_run, [], [99.0], gate=summary()["gate"] | {"bound_used": 98.0})
    add(add_run, ALL, [99.2])
    assert not any(stage.tests for stage in way(results)[1:])


def test_of_two_sets_of_runs_with_the_same_keys_the_larger_stands(results: Path, add_run: AddRun) -> None:
    add(add_run, [], [99.0])
    add(add_run, [COUNT, TEST], [99.1, 99.2])
    add(add_run, ALL, [99.3])
    assert way(results)[2].tests == {0: 99.1, 1: 99.2}


OWN = summary()["settings"]


@pytest.mark.parametrize(
    "changes",
    [
        {"shortened": True},
        {"pruner": "l2"},
        {"settings": OWN | {"gate.bound": 98.0}},
        {"settings": OWN | {"pruner.penalty.alpha": 0.1}},
        {"provenance": summary()["provenance"] | {"precision": "bf16"}},
    ],
)
def test_runs_that_differ_by_more_than_the_protocol_do_not_count(
    results: Path, add_run: AddRun, changes: dict[str, object]
) -> None:
    add(add_run, [], [99.0])
    add(add_run, [COUNT], [99.05], **changes)
    assert not way(results)[1].tests


def test_a_key_alone_stands_beside_the_sum(results: Path, add_run: AddRun) -> None:
    add(add_run, [], [99.0, 99.1])
    add(add_run, [TEST], [99.3, 99.4])
    assert rows(results)[2][2] == "not run" and rows(results)[2][-1] == "+0.30, n = 2"
    assert rows(results)[1][-1] == "not run" and rows(results)[0][-1] == ""


def test_changes_are_those_of_the_seeds_since_the_last_stage_that_was_run(results: Path, add_run: AddRun) -> None:
    add(add_run, [], [99.0, 99.1, 99.5])
    add(add_run, ALL, [99.2, 99.32], best=99.3)
    found = rows(results)
    assert found[0][2:5] == ("99.05 ± 0.07", "99.72 ± 0.00", "2 of 2")  # the third seed is none of the audit's
    assert [line[0] for line in found] == ["sound", "`count_before_use`", "`test_set_gates`", "`report`", "the paper"]
    assert found[1][2:6] == ("not run", "", "0 of 2", "")
    assert found[2][2:9] == (
        "99.26 ± 0.08",
        "99.72 ± 0.00",
        "2 of 2",
        "+0.21",
        "0.08 to 0.34",
        "2",
        "undecided at n = 2",
    )
    assert found[3][5] == "+0.10"
    assert found[4][2:4] == ("99.23", "99.71")


def test_the_picture_has_a_bar_for_each_stage_that_was_run(results: Path, add_run: AddRun) -> None:
    add(add_run, [], [99.0, 99.1])
    assert not [block for block in blocks(results) if isinstance(block, Figure)]
    add(add_run, ALL, [99.2, 99.3], best=99.1)
    (figure,) = [block for block in blocks(results) if isinstance(block, Figure)]
    assert figure.name == "lenet5_mnist/audit"
    svg = figure.rendering.svg
    assert "count before use" in svg and "+ test set gates" in svg and "+0.20" in svg and "-0.10" in svg


def test_the_picture_is_of_the_seeds_that_every_stage_has(results: Path, add_run: AddRun) -> None:
    add(add_run, [], [99.0, 99.5])
    add(add_run, ALL, [99.2], best=99.1)
    (figure,) = [block for block in blocks(results) if isinstance(block, Figure)]
    assert "+0.20" in figure.rendering.svg and "-0.05" not in figure.rendering.svg


def test_a_bar_reaches_from_the_mean_before_to_its_own(results: Path) -> None:
    paper, _ = load_sections(results)[0]
    drawing = draw_audit(paper, [Bar("sound", (99.0, 99.2)), Bar("a", (99.3,)), Bar("b", (99.2,))])
    bars = [(bar.get_x(), bar.get_width()) for bar in drawing.axes[0].patches if isinstance(bar, Rectangle)]
    assert bars == [pytest.approx((99.1, 0.2)), pytest.approx((99.3, -0.1))]


def test_the_design_is_said_where_there_is_a_list(results: Path) -> None:
    assert audit_section(load_sections(results), Audit()) == []
    assert "changes do not sum" in " ".join(str(blocks(results)[1]).split()) and isinstance(blocks(results)[1], Prose)


def test_the_list_of_the_repository_names_keys_of_the_protocol() -> None:
    audit = load_audit(REPOSITORY / "results" / "audit.yaml")
    assert {step.key for step in audit.steps} <= set(ALL)
    assert [step.key for step in audit.of(MNIST)][-1] == REPORT and len(audit.of(MNIST)) == 5
