"""Published points: each has a source, those of the paper are the paper's, and the picture shows the others."""

from pathlib import Path

import numpy as np
import pytest
from matplotlib.lines import Line2D

from sparsity.report.literature import load_literature
from sparsity.report.paper import load_paper
from sparsity.report.plots.frontier import draw_frontier
from tests.report.fake_results import PAPER, REPOSITORY

FILE = REPOSITORY / "results" / "literature.csv"
HEADER = "method,network,dataset,metric,value,density,unit,source,note"
OWN = "arXiv 2204.04977 "


def test_every_point_is_read_and_names_its_source() -> None:
    points = load_literature(FILE)
    rows = [line for line in FILE.read_text().splitlines() if not line.startswith("#")]
    assert len(points) == len(rows) - 1 == len(set(points)) > 50
    assert all(point.source.startswith("arXiv ") and len(point.source.split()) > 2 for point in points)


def test_the_rows_of_the_paper_are_those_of_its_tables() -> None:
    ours = [
        (point.source, point.network, point.dataset, point.metric, point.value, point.density)
        for point in load_literature(FILE)
        if point.source.startswith(OWN)
    ]
    theirs = [
        (f"{OWN}Table {paper.results.table}", paper.model, paper.dataset, paper.metric, row.metric, 1 - row.sparsity)
        for paper in load_paper(PAPER)
        for row in paper.results.rows
        if row.sparsity is not None
    ]
    assert [point[:5] for point in ours] == [row[:5] for row in theirs]
    assert [point[5] for point in ours] == pytest.approx([row[5] for row in theirs])


@pytest.mark.parametrize(
    ("row", "problem"),
    [
        ("sws,lenet5,mnist,error,1,0.005,pounds,arXiv 1,", "error and pounds are not among"),
        ("sws,lenet5,mnist,error,1,99.5,weights,arXiv 1,", r"a density lies in \(0, 1\]"),
        ("sws,lenet5,mnist,error,1,0.005,weights,,", "each has a source"),
        ("sws,lenet5,mnist,error,one,0.005,weights,arXiv 1,", "could not convert"),
        ("sws,lenet5,mnist,error,1,0.005,weights", "its columns must be method, network"),
        ("sws,lenet5,mnist,error,1,0.005,weights,arXiv 1,,", "its columns must be method, network"),
    ],
)
def test_a_damaged_point_is_named(tmp_path: Path, row: str, problem: str) -> None:
    path = tmp_path / "literature.csv"
    path.write_text(f"# a comment\n{HEADER}\n{row}\n")
    with pytest.raises(ValueError, match=problem) as caught:
        load_literature(path)
    assert str(caught.value).startswith(f"{path} cannot be used: sws,lenet5")


def test_an_error_is_shown_as_an_accuracy_and_the_papers_own_rows_once() -> None:
    lenet = load_paper(PAPER)[0]
    found = {(point.method, point.density): point.score for point in lenet.literature}
    assert found["snip", 0.02] == pytest.approx(99.2)
    assert ("relevance", 0.0029) not in found
    axes = draw_frontier(lenet, []).axes[0]
    handles, names = axes.get_legend_handles_labels()
    marks = handles[names.index("published elsewhere")]
    assert isinstance(marks, Line2D)
    assert sorted(np.asarray(marks.get_ydata()).tolist()) == pytest.approx(sorted(found.values()))
