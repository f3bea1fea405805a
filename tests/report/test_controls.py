"""Relevance against its controls: equal settings, the same seeds, and no claim from too few."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from sparsity import config
from sparsity.report.blocks import Figure
from sparsity.report.configurations import Configuration, collect
from sparsity.report.controls import Contrast, contrasts, contrasts_table, on_the_way, sentence
from sparsity.report.paper import PaperExperiment, load_paper
from sparsity.report.reading import find_runs, load_run
from sparsity.report.study import study_section, verdict
from tests.report.fake_results import PHASES, AddRun, row, summary

SHARED = PHASES | {"pruner.prunes": True, "pruner.penalty.strength": 1e-3}
RELEVANCE = {"pruner.name": "relevance", "pruner.penalty.kind": "relevance"}
L2 = {"pruner.name": "l2", "pruner.penalty.kind": "l2"}


@pytest.fixture
def paper(results: Path) -> PaperExperiment:
    return load_paper(results / "paper")[0]


def collected(results: Path, paper: PaperExperiment) -> list[Configuration]:
    return collect([load_run(directory) for directory in find_runs(results)], paper)


def found(results: Path, paper: PaperExperiment) -> list[Contrast]:
    return contrasts(paper, collected(results, paper))


def add_pairs(add_run: AddRun, relevance: list[float], l2: list[float], **changes: Any) -> None:
    for seed, test in enumerate(relevance):
        add_run(seed=seed, settings=SHARED | RELEVANCE, rows=[row(test=test)])
    for seed, test in enumerate(l2):
        add_run(**{"seed": seed, "pruner": "l2", "settings": SHARED | L2, "rows": [row(test=test)]} | changes)


def add_curves(add_run: AddRun, values: dict[str, list[list[tuple[float, float]]]], **changes: Any) -> None:
    """Runs of each pruner, one a seed, with these (sparsity, validation metric) at their evaluations."""
    for pruner, seeds in values.items():
        settings = RELEVANCE if pruner == "relevance" else L2
        for seed, curve in enumerate(seeds):
            directory = add_run(seed=seed, settings=SHARED | settings, pruner=pruner, **changes)
            points = [{"phase": "regularise", "step": i, "epoch": 0, "val": val, "sparsity": sparsity, "pruned": True}
                      for i, (sparsity, val) in enumerate(curve)]  # fmt: skip
            (directory / "curve.jsonl").write_text("".join(json.dumps(point) + "\n" for point in points))


def test_runs_of_the_same_seed_are_paired(results: Path, paper: PaperExperiment, add_run: AddRun) -> None:
    add_pairs(add_run, [99.0, 99.2, 99.9], [98.9, 98.9])
    metric, prunes = found(results, paper)
    assert (metric.number, metric.pairs.n) == ("Accuracy (%) at the paper's sparsity", 2)
    assert metric.pairs.difference.mean == pytest.approx(0.2)
    assert metric.first.mean == pytest.approx(99.1)  # the third seed has no partner and does not count
    assert (prunes.number, prunes.pairs.difference.mean) == ("Prunes at the bound", 0.0)


def test_a_seed_is_held_against_the_same_seed_whichever_lacks_a_partner(
    results: Path, paper: PaperExperiment, add_run: AddRun
) -> None:
    add_pairs(add_run, [99.9, 99.0, 99.2], [])
    for seed, test in ((1, 98.9), (2, 99.0)):
        add_run(seed=seed, pruner="l2", settings=SHARED | L2, rows=[row(test=test)])
    metric = found(results, paper)[0]
    assert (metric.pairs.difference.mean, metric.first.mean) == pytest.approx((0.15, 99.1))


def test_only_relevance_is_compared_and_only_with_its_controls(
    results: Path, paper: PaperExperiment, add_run: AddRun
) -> None:
    for pruner in ("relevance", "l2", "magnitude", "l1", "dense", "mine"):
        settings = SHARED | {"pruner.name": pruner, "pruner.penalty.kind": pruner}
        add_run(pruner=pruner, settings=settings, fingerprint=pruner)
    pairs = {(contrast.ours.first.pruner, contrast.control.first.pruner) for contrast in found(results, paper)}
    assert pairs == {("relevance", control) for control in ("l2", "magnitude", "l1")}


def test_runs_of_another_scale_are_not_compared(results: Path, paper: PaperExperiment, add_run: AddRun) -> None:
    add_pairs(add_run, [99.0], [98.9], scale="smoke")
    assert found(results, paper) == []


@pytest.mark.parametrize(
    "change", [{"gate.bound": 98.0}, {"pruner.penalty.decoupled": True}, {"pruner.score": {"_target_": "mine.Lamp"}}]
)
def test_a_control_with_another_setting_is_not_compared(
    results: Path, paper: PaperExperiment, add_run: AddRun, change: dict[str, Any]
) -> None:
    add_pairs(add_run, [99.0], [98.9], settings=SHARED | L2 | change)
    assert found(results, paper) == []


def test_a_control_in_another_precision_is_not_compared(results: Path, paper: PaperExperiment, add_run: AddRun) -> None:
    add_pairs(add_run, [99.0], [98.9], provenance=summary()["provenance"] | {"precision": "bf16"})
    assert found(results, paper) == []


def test_alpha_belongs_to_the_method_and_does_not_part_it_from_its_control(
    results: Path, paper: PaperExperiment, add_run: AddRun
) -> None:
    add_pairs(add_run, [], [98.9])
    add_run(fingerprint="cc", settings=SHARED | RELEVANCE | {"pruner.penalty.alpha": 0.01})
    (contrast, _) = found(results, paper)
    assert contrast.ours.name == "relevance cc, alpha 0.01"


def test_a_marked_run_is_not_held_against_an_unmarked_one(
    results: Path, paper: PaperExperiment, add_run: AddRun
) -> None:
    add_pairs(add_run, [99.0], [98.9], shortened=True)
    assert found(results, paper) == []


def test_runs_without_recorded_settings_are_not_compared(
    results: Path, paper: PaperExperiment, add_run: AddRun
) -> None:
    add_run(settings=None)
    add_run(settings=None, pruner="l2")
    assert found(results, paper) == []


def test_a_run_that_never_reached_the_papers_sparsity_has_no_pair(
    results: Path, paper: PaperExperiment, add_run: AddRun
) -> None:
    add_pairs(add_run, [99.0], [98.9], rows=[row("last")])
    assert [contrast.number for contrast in found(results, paper)] == ["Prunes at the bound"]


def test_a_sentence_gives_difference_interval_and_both_p(
    results: Path, paper: PaperExperiment, add_run: AddRun
) -> None:
    add_pairs(add_run, [99.0, 99.2, 99.1], [98.9, 98.9, 98.9])
    text = sentence(found(results, paper)[0])
    assert text == (
        "relevance ab12cd34 against l2 ab12cd34, Accuracy (%) at the paper's sparsity: +0.20 points "
        "(n = 3; 95 % interval -0.05 to 0.45; p = 0.074 (t), 0.25 (exact), 0.89 (equivalence within ±0.1 points)): "
        "undecided at n = 3; 11 seeds would show equivalence, 10 a difference of the margin."
    )


def test_one_pair_is_said_to_decide_nothing(results: Path, paper: PaperExperiment, add_run: AddRun) -> None:
    add_pairs(add_run, [99.0], [98.9])
    (metric, _) = found(results, paper)
    assert sentence(metric).endswith("+0.10 points (n = 1): undecided at n = 1, one pair has no spread.")
    assert contrasts_table([metric]).rows[0][-3:] == ("undecided at n = 1, one pair has no spread", "", "")


def test_the_table_has_effect_size_and_both_p(results: Path, paper: PaperExperiment, add_run: AddRun) -> None:
    add_pairs(add_run, [99.0, 99.2, 99.1], [98.9, 98.9, 98.9])
    (metric, _) = contrasts_table(found(results, paper)).rows
    assert metric[5:11] == ("3", "+0.20", "-0.05 to 0.45", "0.074", "0.25", "+2.00")
    assert metric[11:] == ("±0.1 points", "0.89", "undecided at n = 3", "11", "10")


def test_more_seeds_than_anybody_runs_are_said_to_be_more(
    results: Path, paper: PaperExperiment, add_run: AddRun
) -> None:
    add_pairs(add_run, [99.0, 89.0], [98.9, 98.9])
    assert contrasts_table(found(results, paper)).rows[0][-2:] == ("over 1,000", "over 1,000")


def test_prunes_have_a_margin_of_their_own(results: Path, paper: PaperExperiment, add_run: AddRun) -> None:
    for pruner, settings, nums in (("relevance", RELEVANCE, (140, 141, 142)), ("l2", L2, (140, 141, 141))):
        for seed, num_prunes in enumerate(nums):
            regularise = summary()["regularise"] | {"num_prunes": num_prunes}
            add_run(seed=seed, settings=SHARED | settings, pruner=pruner, regularise=regularise)
    (_, prunes) = contrasts_table(found(results, paper)).rows
    assert prunes[2:7] == ("Prunes at the bound", "141.0 ± 1.0", "140.7 ± 0.6", "3", "+0.3")
    assert prunes[11:14] == ("±2 prunes", "0.019", "equivalent within the margin")


def test_the_verdict_counts_what_the_comparisons_with_l2_say(
    results: Path, paper: PaperExperiment, add_run: AddRun
) -> None:
    add_pairs(add_run, [99.0 + 0.01 * i for i in range(6)], [98.9 - 0.01 * i for i in range(6)])
    text = verdict(found(results, paper))
    counts = "1 different; 0 different, but equivalent within the margin; 1 equivalent within the margin; 0 undecided"
    assert text.startswith(f"**Verdict.** 2 comparisons with L2: {counts}.")
    assert len([line for line in text.splitlines() if line.startswith("- ")]) == 2


def test_the_verdict_counts_no_other_control(results: Path, paper: PaperExperiment, add_run: AddRun) -> None:
    l1 = {"pruner.name": "l1", "pruner.penalty.kind": "l1"}
    add_pairs(add_run, [99.0], [98.9], pruner="l1", settings=SHARED | l1)
    assert found(results, paper) and verdict(found(results, paper)).startswith("**Verdict.** Open")


def test_without_an_l2_control_the_verdict_is_open() -> None:
    assert verdict([]).startswith("**Verdict.** Open")


def test_without_controls_the_section_says_how_to_run_them(results: Path, paper: PaperExperiment) -> None:
    assert "scripts/study.py" in str(study_section([(paper, [])])[-1])


def test_the_section_shows_each_setting_with_its_irrelevance(
    results: Path, paper: PaperExperiment, add_run: AddRun
) -> None:
    irrelevance = {"a": {"mean": 0.5, "below_0.99": 1.0}, "b": {"mean": 0.25, "below_0.99": 1.0}}
    add_run(settings=SHARED | RELEVANCE, irrelevance=irrelevance)
    add_run(settings=SHARED | L2, pruner="l2", regularise={**summary()["regularise"], "sparsity": 0.5})
    text = str(study_section([(paper, collected(results, paper))]))
    assert "('relevance ab12cd34', '1', '99.20', '99.72', '1 of 1', '0.2500')" in text
    assert "('l2 ab12cd34', '1', '99.20', '50.00', '1 of 1', '')" in text
    assert "The bound stopped the pruning of 2 of 2 runs." in text


def let_the_last_evaluation_prune(directory: Path) -> None:
    curve = directory / "curve.jsonl"
    curve.write_text(curve.read_text().replace('"pruned": false', '"pruned": true'))


def test_prunes_are_compared_only_where_the_bound_stopped_both(
    results: Path, paper: PaperExperiment, add_run: AddRun
) -> None:
    for seed in (0, 1):
        add_run(seed=seed, settings=SHARED | RELEVANCE)
        directory = add_run(seed=seed, settings=SHARED | L2, pruner="l2")
        if seed == 1:
            let_the_last_evaluation_prune(directory)
    (prunes,) = [contrast for contrast in found(results, paper) if contrast.number == "Prunes at the bound"]
    assert prunes.pairs.n == 1


def test_metrics_are_compared_at_the_highest_sparsity_that_all_pairs_reached(
    results: Path, paper: PaperExperiment, add_run: AddRun
) -> None:
    curves = {"relevance": [[(0.94, 99.0), (0.96, 98.9), (0.96, 98.5)]], "l2": [[(0.94, 98.0), (0.94, 98.2)]]}
    add_curves(add_run, curves, rows=[row("last")])
    (metric,) = found(results, paper)  # relevance has no evaluation at 95 % that L2 has too
    assert metric.number == "Accuracy (%) on validation data at 90 % sparsity"
    assert (metric.first.mean, metric.second.mean) == (98.9, 98.2)  # of the network after the prune that reached it


def test_a_run_without_a_partner_has_no_say_in_the_sparsity_that_is_compared(
    results: Path, paper: PaperExperiment, add_run: AddRun
) -> None:
    relevance = [[(0.95, 99.0), (0.95, 98.9)], [(0.4, 99.0), (0.5, 99.0)]]
    add_curves(add_run, {"relevance": relevance, "l2": [[(0.95, 98.0), (0.95, 98.2)]]}, rows=[row("last")])
    assert found(results, paper)[0].number == "Accuracy (%) on validation data at 95 % sparsity"


def test_on_the_way_pairs_are_compared_at_each_level_that_all_of_them_came_to(
    results: Path, paper: PaperExperiment, add_run: AddRun
) -> None:
    l2 = [[(0.6, 97.0), (0.72, 98.0), (0.82, 98.0)], [(0.6, 97.0), (0.72, 98.0), (0.72, 98.0)]]
    add_curves(add_run, {"relevance": [[(0.95, 98.5), (0.95, 98.6)], [(0.95, 97.5), (0.95, 98.4)]], "l2": l2})
    first = found(results, paper)[0]
    differences = {level: pairs.difference.mean for level, pairs in on_the_way(first.ours, first.control).items()}
    assert differences == pytest.approx({0.5: 0.5, 0.7: 0.5})  # at 80 % the second seed of L2 has no evaluation


def test_the_way_of_whole_runs_is_drawn_once_for_each_control_and_of_marked_runs_not(
    results: Path, paper: PaperExperiment, add_run: AddRun
) -> None:
    add_curves(add_run, {"relevance": [[(0.95, 98.5), (0.95, 98.6)]], "l2": [[(0.95, 98.0), (0.95, 98.0)]]})
    ours = collected(results, paper)
    (drawing,) = drawn(paper, ours)
    assert "relevance ahead by" in drawing.rendering.svg and drawing.rendering.svg.count("of l2, 1 pair<") == 1
    assert not drawn(paper, [replace(each, marks=("shortened",)) for each in ours])


def drawn(paper: PaperExperiment, ours: list[Configuration]) -> list[Figure]:
    blocks = study_section([(paper, ours)])
    return [each for each in blocks if isinstance(each, Figure) and each.name.endswith("/differences")]


def test_the_section_says_which_lobster_is_a_control(results: Path, paper: PaperExperiment, add_run: AddRun) -> None:
    assert "`pruner=lobster` is no control" in str(study_section([(paper, [])]))


@pytest.mark.parametrize("name", [path.stem for path in (config.CONF / "experiment").glob("*.yaml")])
def test_lobster_is_a_control_as_its_authors_run_it_where_they_say_how(name: str) -> None:
    controls = config.compose([f"experiment={name}", "scale=paper"]).paper.controls
    is_known = (config.CONF / "specializing" / "pruner" / "lobster_authors" / f"{name}.yaml").is_file()
    assert ("lobster_authors" in controls) == is_known
    assert "lobster" not in controls


LOBSTER = SHARED | {
    "pruner.name": "lobster_authors", "pruner.trigger": "restoring_plateau", "pruner.penalty.strength": 1e-4,
    "regularise.optimizer.name": "sgd", "regularise.num_epochs": 10_000, "regularise.max_steps": 400_000,
}  # fmt: skip


def test_lobster_at_its_own_settings_and_length_is_compared_at_the_papers_sparsity_alone(
    results: Path, paper: PaperExperiment, add_run: AddRun
) -> None:
    add_pairs(add_run, [99.0], [98.9], pruner="lobster_authors", settings=LOBSTER, shortened=True)
    (contrast,) = found(results, paper)
    assert contrast.control.first.pruner == "lobster_authors"
    assert contrast.pairs.difference.mean == pytest.approx(0.1)


@pytest.mark.parametrize("change", [{"baseline.num_epochs": 7}, {"finetune.num_epochs": 9}])
def test_lobster_from_another_start_with_another_end_or_simplified_is_not_compared(
    results: Path, paper: PaperExperiment, add_run: AddRun, change: dict[str, Any]
) -> None:
    add_pairs(add_run, [99.0], [98.9], pruner="lobster_authors", settings=LOBSTER | change, shortened=True)
    add_run(pruner="lobster", fingerprint="dd", settings=LOBSTER | {"pruner.name": "lobster"}, shortened=True)
    assert found(results, paper) == []
