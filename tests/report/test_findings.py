"""results/findings.md: its figures are those of the committed records, computed anew."""

import statistics

import pytest

from sparsity.report.configurations import row_at
from sparsity.report.reading import Run, find_runs, load_run
from sparsity.report.stops import num_missed, regularised
from sparsity.run.plan import prunes_needed
from tests.report.fake_results import REPOSITORY

RESULTS = REPOSITORY / "results"
FINDINGS = " ".join((RESULTS / "findings.md").read_text(encoding="utf-8").split())
MNIST, FASHION = "lenet5_mnist/paper-relevance-56e701b943", "lenet5_fashion_mnist/paper-relevance-501468451c"
RESNET = RESULTS / "resnet32_cifar10" / "paper-relevance-5e8823341b" / "seed0"
NUM_SEEDS = {MNIST: 4, FASHION: 6}


def seeds(configuration: str) -> list[Run]:
    found = [load_run(path) for path in find_runs(RESULTS) if path.parent == RESULTS / configuration]
    assert [run.summary.seed for run in found] == list(range(NUM_SEEDS.get(configuration, 3)))
    return found


def listed(values: list[object]) -> str:
    """As the text says it: a, b and c."""
    return f"{', '.join(map(str, values[:-1]))} and {values[-1]}"


def spread(values: list[float]) -> str:
    return f"{statistics.mean(values):.2f} ± {statistics.stdev(values):.2f}"


@pytest.mark.parametrize(
    ("words", "mnist", "fashion"),
    [
        ("relevance, alpha 1", "relevance-5dc1b3023b", "relevance-93283b842a"),
        ("relevance, alpha 0.1", "relevance-c59de2c126", "relevance-e37e356376"),
        ("relevance, alpha 0.01", "relevance-90e2adbeb6", "relevance-f550d23d9e"),
        ("relevance, alpha 0.001", "relevance-936e4c90c2", "relevance-d1b062742a"),
        ("relevance, scale-free", "relevance-03f3151ae2", "relevance-6dc1ec8735"),
        ("L2", "l2-ae52e022fe", "l2-312184d027"),
        ("magnitude, no penalty", "magnitude-cdd22c0bf7", "magnitude-168056f413"),
    ],
)
def test_the_study_is_tabled_as_its_records_say(words: str, mnist: str, fashion: str) -> None:
    cells, lowest = [], []
    for configuration in (f"lenet5_mnist/paper-{mnist}", f"lenet5_fashion_mnist/paper-{fashion}"):
        runs = seeds(configuration)
        rows = [row for run in runs if (row := row_at(run, "last"))]
        cells.append(f"{spread([100 * row.sparsity for row in rows])}, {spread([row.test for row in rows])}")
        means = [[figures["mean"] for figures in (run.summary.irrelevance or {}).values()] for run in runs]
        lowest.append(f"{statistics.mean(min(each) for each in means):.3f}")
    assert f"| {words} | {', '.join(lowest)} | {' | '.join(cells)} |" in FINDINGS


@pytest.mark.parametrize(
    ("words", "configuration"),
    [
        ("1e-4, constant (`finetune=constant_1e-4`)", "b6d62915dc"),
        ("1e-4, cosine", "719261345a"),
        ("3e-4, cosine", "8f78ad6f99"),
        ("1e-3, cosine, 10 epochs", "8ee58027b1"),
        ("1e-3, cosine (as configured)", "94f8c8f393"),
    ],
)
def test_the_final_phases_are_tabled_as_their_records_say(words: str, configuration: str) -> None:
    runs = seeds(f"lenet5_fashion_mnist/paper-relevance-{configuration}")
    rows = [row for run in runs if (row := row_at(run, "paper_sparsity"))]
    ends = [statistics.mean([point.val for point in run.curve][-10:]) for run in runs]
    cells = [spread([row.val for row in rows]), f"{statistics.mean(ends):.2f}", spread([row.test for row in rows])]
    assert f"| {words} | {' | '.join(cells)} |" in FINDINGS


def test_the_reported_checkpoints_of_fashion_mnist_are_early_ones() -> None:
    rows = [row for run in seeds(FASHION) if (row := row_at(run, "paper_sparsity"))]
    assert {row.num_epochs for row in rows} == {50}
    assert f"are those of epochs {listed([row.epoch for row in rows])}." in FINDINGS


def test_validation_goes_over_that_final_phase_by_what_is_said() -> None:
    phases = [[point.val for point in run.curve if point.phase == "finetune/paper_sparsity"] for run in seeds(FASHION)]
    first, last = (
        [f"{statistics.mean(part):.2f}" for part in parts] for parts in zip(*map(_ends, phases), strict=True)
    )
    below = [f"{max(phase) - statistics.mean(phase[-10:]):.2f}" for phase in phases]
    assert (
        f"goes from {listed(first)} to {listed(last)}; below the best epoch that is {listed(below)} points" in FINDINGS
    )


def _ends(phase: list[float]) -> tuple[list[float], list[float]]:
    return phase[:3], phase[-10:]


def test_the_last_prunes_before_the_papers_sparsity_stand_as_recorded() -> None:
    vals = []
    for run in seeds(MNIST):
        row = row_at(run, "paper_sparsity")
        assert row is not None
        vals.append(f"{[point.val for point in run.summary.frontier if point.sparsity < row.sparsity - 1e-9][-1]:.2f}")
    assert f"had {listed(vals)} on validation data" in FINDINGS


@pytest.mark.parametrize(("configuration", "median"), [(MNIST, "0.994 on MNIST"), (FASHION, "0.978 on Fashion-MNIST")])
def test_the_median_of_the_lowest_mean_irrelevance_is_the_recorded_one(configuration: str, median: str) -> None:
    assert median in FINDINGS
    for run in seeds(configuration):
        lowest = [point.lowest_mean_irrelevance for point in regularised(run)]
        found = statistics.median(value for value in lowest if value is not None)
        assert found == pytest.approx(float(median.split()[0]), abs=3e-3)


def test_what_is_said_of_resnet32_is_what_its_gate_let_through() -> None:
    run = load_run(RESNET)
    prunes = [point for point in regularised(run) if point.pruned]
    early = [point for point in prunes if point.step <= 980]
    late = [f"{point.step:,}" for point in prunes[len(early) :]]
    needed = prunes_needed(0.8127, 0.04)
    assert f"**{len(prunes)} of the {needed} prunes that the paper's sparsity takes.**" in FINDINGS
    assert f"980 steps let {len(early)} through, to {100 * early[-1].sparsity:.1f} %" in FINDINGS
    assert f"{late[0]} and {late[1]}, {late[2]} and {late[3]}, {late[4]} and {late[5]}." in FINDINGS
    assert f"The last {num_missed(run)} evaluations missed the bound." in FINDINGS
    (row,) = run.summary.rows
    assert run.summary.baseline.test is not None
    said = f"at {100 * row.sparsity:.2f} % sparsity: {row.val:.2f} validation, {row.test:.2f} test"
    assert f"{said}, {run.summary.baseline.test - row.test:.2f} below the dense network" in FINDINGS


def test_after_the_first_prunes_resnet32_stays_as_far_below_its_bound_as_is_said() -> None:
    run = load_run(RESNET)
    stretches = [
        [point.val for point in regularised(run) if start < point.step <= start + 4_000]
        for start in range(4_000, 28_000, 4_000)
    ]
    means, deviations = ([of(stretch) for stretch in stretches] for of in (statistics.mean, statistics.stdev))
    assert f"lies between {min(means):.2f} and {max(means):.2f}," in FINDINGS
    assert f"with a standard deviation of {min(deviations):.2f} to {max(deviations):.2f}:" in FINDINGS
