"""scripts/figure1.py: the envelope of published runs, and the file that the page reads."""

from pathlib import Path

import pytest

from scripts.figure1 import PAPERS_POINTS, envelope, read_points
from sparsity.report.paper import load_paper
from tests.report.fake_results import PAPER


def test_the_envelope_keeps_what_no_run_beats_in_both() -> None:
    points = [(0.5, 26.0), (0.5, 25.0), (0.6, 26.5), (0.7, 24.0), (0.8, 24.5), (0.9, 20.0)]
    assert envelope(points) == [(0.6, 26.5), (0.8, 24.5), (0.9, 20.0)]


def test_every_pair_of_columns_of_a_published_table_is_read(tmp_path: Path) -> None:
    (tmp_path / "one.csv").write_text("Moses BLEU,Sparsity\n26,0.5\n")
    (tmp_path / "many.csv").write_text("MOSES BLEU:0.0,Sparsity:0.0,MOSES BLEU:0.5,Sparsity:0.5\n26,0.5,25,0.6\n")
    assert list(read_points(tmp_path / "one.csv")) == [(0.5, 26.0)]
    assert list(read_points(tmp_path / "many.csv")) == [(0.5, 26.0), (0.6, 25.0)]


def test_the_page_reads_the_papers_points_and_four_envelopes() -> None:
    (wmt,) = [paper for paper in load_paper(PAPER) if paper.curves]
    assert wmt.experiment == "transformer_wmt14"
    assert [curve.method for curve in wmt.curves] == ["relevance", "magnitude", "sparse_vd", "l0", "random"]
    assert wmt.curves[0].points == PAPERS_POINTS
    for curve in wmt.curves[1:]:
        assert envelope(curve.points) == list(curve.points)


def test_a_damaged_curve_is_named_in_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "lenet5_mnist.yaml").write_text((PAPER / "lenet5_mnist.yaml").read_text())
    (tmp_path / "lenet5_mnist_curves.csv").write_text("method,label,sparsity,metric\nl2,x,many,3\n")
    with pytest.raises(ValueError, match=r"lenet5_mnist_curves.csv cannot be used: could not convert"):
        load_paper(tmp_path)
