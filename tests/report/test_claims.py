"""Verdicts on the paper's claims follow from the records: a changed summary changes them."""

from dataclasses import replace
from pathlib import Path

import pytest

from sparsity.report.claims import Claim, Finding, claims_section, judged, load_claims
from sparsity.report.markdown import render_markdown
from sparsity.report.page import load_sections
from sparsity.report.paper import PaperExperiment
from tests.report.fake_results import REPOSITORY, AddRun, render_page, row, summary

CLAIMS = load_claims(REPOSITORY / "results" / "claims.yaml")
RESULT = Claim("It keeps 99.23 %.", "Table 2", "result", experiment="lenet5_mnist")


def verdict(results: Path, claim: Claim) -> tuple[Finding, str]:
    return judged(claim, load_sections(results))


@pytest.mark.parametrize(
    ("tests", "expected"),
    [
        ((99.2, 99.25, 99.3), Finding.SUPPORTED),
        ((99.6, 99.61, 99.62), Finding.SUPPORTED),
        ((98.0, 98.1, 98.05), Finding.CONTRADICTED),
        ((98.9, 99.0, 99.1), Finding.PARTLY),
        ((), Finding.NOT_TESTED),
    ],
)
def test_a_changed_summary_changes_the_verdict_on_a_result(
    results: Path, add_run: AddRun, tests: tuple[float, ...], expected: Finding
) -> None:
    for seed, test in enumerate(tests):
        add_run(seed=seed, rows=[row(test=test)])
    assert verdict(results, RESULT)[0] is expected


def test_layers_are_supported_as_far_as_they_lie_within_their_tolerance(results: Path, add_run: AddRun) -> None:
    claim = Claim("", "", "layers", experiment="lenet5_mnist")
    assert verdict(results, claim)[0] is Finding.NOT_TESTED
    for seed in range(3):
        add_run(seed=seed)
    found, told = verdict(results, claim)
    assert found is Finding.SUPPORTED and told.startswith("Conv1 28.85 ")


@pytest.mark.parametrize("num_seeds", [1, 2])
def test_layers_of_which_none_lies_within_its_tolerance_contradict(
    results: Path, add_run: AddRun, num_seeds: int
) -> None:
    for seed in range(num_seeds):
        add_run(seed=seed, rows=[row(kept=1200)])
    assert verdict(results, Claim("", "", "layers", experiment="lenet5_mnist"))[0] is Finding.CONTRADICTED


@pytest.mark.parametrize(("num_seeds", "expected"), [(2, Finding.CONTRADICTED), (1, Finding.PARTLY)])
def test_runs_of_full_size_that_never_reached_the_papers_sparsity_test_a_result(
    results: Path, add_run: AddRun, num_seeds: int, expected: Finding
) -> None:
    for seed in range(num_seeds):
        add_run(seed=seed, rows=[row("last", kept=4000)], regularise={**summary()["regularise"], "sparsity": 0.99})
    found, told = verdict(results, RESULT)
    assert found is expected and told.startswith("never reached")


def test_layers_without_a_row_at_the_papers_sparsity_are_not_tested(results: Path, add_run: AddRun) -> None:
    add_run(rows=[row("last")])
    found, told = verdict(results, Claim("", "", "layers", experiment="lenet5_mnist"))
    assert (found, told) == (Finding.NOT_TESTED, "no run of full size at the paper's sparsity")


CONTROL = Claim("", "", "control", control="l2")


def add_controls(add_run: AddRun, relevance: list[float], l2: list[float], num_prunes: int = 144) -> None:
    """Pairs by seed, of which those of prunes have no spread."""
    for seed, (mine, theirs) in enumerate(zip(relevance, l2, strict=True)):
        add_run(seed=seed, rows=[row(test=mine)])
        prunes = summary()["regularise"] | {"num_prunes": num_prunes + seed % 2}
        add_run(seed=seed, pruner="l2", fingerprint="l2l2l2l2l2", rows=[row(test=theirs)], regularise=prunes)


@pytest.mark.parametrize(
    ("l2", "num_prunes", "expected", "told"),
    [
        ([98.9, 98.8, 98.9, 98.8, 98.9, 98.8], 100, Finding.SUPPORTED, "2 in favour, 0 against, 0 equivalent"),
        ([98.9, 98.8, 98.9, 98.8, 98.9, 98.8], 144, Finding.PARTLY, "1 in favour, 0 against, 1 equivalent"),
        ([99.5, 99.4, 99.5, 99.4, 99.5, 99.4], 144, Finding.CONTRADICTED, "0 in favour, 1 against, 1 equivalent"),
        ([99.0, 99.01, 99.0, 99.01, 99.0, 99.01], 144, Finding.CONTRADICTED, "0 in favour, 0 against, 2 equivalent"),
        ([98.98, 98.97, 98.98, 98.97, 98.98, 98.97], 144, Finding.CONTRADICTED, "0 in favour, 0 against, 2 equivalent"),
        ([98.0, 100.0, 98.0, 100.0, 98.0, 100.0], 144, Finding.NOT_TESTED, "1 equivalent, 1 undecided"),
        ([98.0, 100.0, 98.0, 100.0, 98.0, 100.0], 200, Finding.CONTRADICTED, "1 against, 0 equivalent, 1 undecided"),
        ([98.9, 98.8, 98.9, 98.8, 98.9, 98.8], 200, Finding.PARTLY, "1 in favour, 1 against, 0 equivalent"),
    ],
)
def test_a_control_is_judged_by_what_differs_and_by_what_is_equal(
    results: Path, add_run: AddRun, l2: list[float], num_prunes: int, expected: Finding, told: str
) -> None:
    add_controls(add_run, [99.0] * 6, l2, num_prunes)
    found, evidence = verdict(results, CONTROL)
    assert (found, evidence.startswith("2 comparisons: ")) == (expected, True) and told in evidence


def test_comparisons_with_another_control_decide_on_no_claim(results: Path, add_run: AddRun) -> None:
    for pruner in ("relevance", "l1"):
        add_run(pruner=pruner)
    assert verdict(results, CONTROL)[1].startswith("0 comparisons: ")
    assert verdict(results, replace(CONTROL, control="l1"))[1].startswith("2 comparisons: ")


def test_comparisons_of_marked_runs_decide_on_no_claim(results: Path, add_run: AddRun) -> None:
    for seed in range(6):
        add_run(seed=seed, shortened=True, rows=[row(test=99.0 + seed / 100)])
        add_run(seed=seed, shortened=True, pruner="l2", fingerprint="l2l2l2l2l2", rows=[row(test=98.0)])
    nothing = "0 comparisons: 0 in favour, 0 against, 0 equivalent, 0 undecided"
    assert verdict(results, CONTROL) == (Finding.NOT_TESTED, nothing)


def test_comparisons_of_another_irrelevance_decide_on_no_claim(results: Path, add_run: AddRun) -> None:
    settings = summary()["settings"] | {"pruner.penalty.alpha": 0.1}
    for seed in range(6):
        add_run(seed=seed, settings=settings, rows=[row(test=99.0 + seed / 100)])
        add_run(seed=seed, pruner="l2", fingerprint="l2l2l2l2l2", rows=[row(test=98.0)])
    assert verdict(results, CONTROL)[1].startswith("0 comparisons: ")


def test_bounds_evaluations_and_units_follow_from_the_papers_own_numbers(results: Path) -> None:
    found, told = verdict(results, Claim("", "", "bounds"))
    assert found is Finding.PARTLY and "ResNet-32 on CIFAR-10: 92.9 above 92.67" in told
    vgg = Claim("", "", "evaluations", experiment="vgg16_imagenet", examples=1_281_167)
    assert verdict(results, vgg) == (Finding.CONTRADICTED, "262 prunes are needed, 150 evaluations offered")
    fashion = Claim("", "", "evaluations", experiment="lenet5_fashion_mnist", examples=60_000)
    assert verdict(results, fashion) == (Finding.SUPPORTED, "92 prunes are needed, 150 evaluations offered")
    found, told = verdict(results, Claim("", "", "units", experiment="lenet5_mnist"))
    assert found is Finding.PARTLY and told.startswith("not so: ") and "L0" in told
    assert "SWS" not in told, "of a row without columns nothing is implied"


def with_setting(paper: PaperExperiment, name: str, value: float) -> PaperExperiment:
    return replace(paper, settings=tuple(replace(each, value=value) if each.name == name else each
                                         for each in paper.settings))  # fmt: skip


def test_a_bound_at_the_very_baseline_does_not_lie_below_it(results: Path) -> None:
    (mnist, *_) = (paper for paper, _ in load_sections(results))
    assert judged(Claim("", "", "bounds"), [(with_setting(mnist, "lower bound", 99.32), [])])[0] is Finding.CONTRADICTED
    assert judged(Claim("", "", "bounds"), [(with_setting(mnist, "lower bound", 99.31), [])])[0] is Finding.SUPPORTED


def test_as_many_evaluations_as_prunes_are_enough(results: Path) -> None:
    (fashion,) = (paper for paper, _ in load_sections(results) if paper.experiment == "lenet5_fashion_mnist")
    claim = Claim("", "", "evaluations", experiment="lenet5_fashion_mnist", examples=60_000)  # two an epoch
    assert judged(claim, [(with_setting(fashion, "epochs", 46), [])])[0] is Finding.SUPPORTED  # 92
    assert judged(claim, [(with_setting(fashion, "epochs", 45), [])])[0] is Finding.CONTRADICTED


def test_a_rule_or_an_experiment_that_there_is_not_is_named(results: Path) -> None:
    with pytest.raises(ValueError, match="There is no rule guess for a claim; choose among result, layers"):
        verdict(results, Claim("", "", "guess"))
    with pytest.raises(ValueError, match="There is no experiment lenet6; choose among"):
        verdict(results, Claim("", "", "units", experiment="lenet6"))


def test_every_claim_of_the_list_is_judged_and_stands_on_the_page(results: Path) -> None:
    assert len(CLAIMS) >= 12
    blocks = claims_section(load_sections(results), CLAIMS)
    assert blocks and claims_section([], []) == []
    (results / "claims.yaml").write_text((REPOSITORY / "results" / "claims.yaml").read_text())
    page = render_page(results)
    assert all(claim.text in page for claim in CLAIMS)


def test_a_claim_leads_to_its_runs_and_says_how_many_settings_were_tried(mnist_alone: Path, add_run: AddRun) -> None:
    add_run()
    add_run(seed=1)
    page = render_markdown(claims_section(load_sections(mnist_alone), [RESULT]))
    assert "| [LeNet-5 on MNIST](#lenet-5-on-mnist): 1 |" in page


def test_a_claim_about_one_experiment_leads_to_no_other(results: Path, add_run: AddRun) -> None:
    baseline = {"source": "train", "num_epochs": 21, "val": 91.0, "test": 91.0, "saw": []}
    fashion = {"experiment": "lenet5_fashion_mnist", "dataset": "fashion_mnist", "data_name": "fashion_mnist"}
    add_run(**fashion, baseline=baseline, settings=None)
    page = render_markdown(claims_section(load_sections(results), [RESULT, CONTROL]))
    of_mnist, of_all = (line for line in page.splitlines() if line.startswith(("| 1. ", "| 2. ")))
    assert "lenet-5-on-fashion" not in of_mnist and "lenet-5-on-fashion" in of_all
