"""Sizes on disk: of the weights alone, tied tensors once, as the compressors' own modules count."""

import bz2
import gzip
import io
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import BartConfig, BartForConditionalGeneration

from sparsity.pruning.masks import Masks
from sparsity.weights import disk_sizes as compression
from sparsity.weights.checkpoints import plain_weights
from sparsity.weights.disk_sizes import COMPRESSORS, file_sizes, measure_sizes, pruned_sizes
from tests.tiny_runs import TinyRun, tiny_run
from tests.training.tiny_bart import tiny_bart


def all_pruned() -> tuple[BartForConditionalGeneration, Masks]:
    """A network without any weight left, and its masks."""
    model = tiny_bart()
    masks = Masks(dict(model.named_parameters()))
    masks.shrink({name: torch.zeros(p.shape, dtype=torch.bool) for name, p in model.named_parameters()})
    return model, masks


def test_a_file_is_measured_as_the_compressors_write_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compression, "PIECE_BYTES", 1000)
    content = bytes(range(256)) * 100 + bytes(100_000)
    (tmp_path / "file").write_bytes(content)
    expected = {"": len(content)}
    for level in (1, 9):
        expected[f"_gzip_{level}"] = len(gzip.compress(content, level))
        expected[f"_bzip2_{level}"] = len(bz2.compress(content, level))
    assert file_sizes(tmp_path / "file") == expected


def test_the_file_holds_the_weights_once_with_true_zeros(tmp_path: Path) -> None:
    model, masks = all_pruned()
    clean = {name: torch.zeros_like(value) for name, value in model.state_dict().items() if "embed_tokens" not in name}
    del clean["lm_head.weight"]
    file = io.BytesIO()
    torch.save(clean, file)
    sizes = pruned_sizes(model, masks.state_dict(), tmp_path)
    assert sizes["pruned_bytes"] == pytest.approx(len(file.getvalue()), rel=0.02)
    assert sizes["pruned_gzip_9_bytes"] < 20_000, "minus zeros do not compress like zeros"
    assert list(tmp_path.iterdir()) == []


def test_a_second_file_holds_a_random_bit_for_each_pruned_weight(tmp_path: Path) -> None:
    model, masks = all_pruned()
    model.load_state_dict(plain_weights(model.state_dict()))  # as it is kept
    num_weights = sum(parameter.numel() for parameter in model.parameters())
    sizes = pruned_sizes(model, masks.state_dict(), tmp_path)
    assert sizes["pruned_signed_bytes"] == pytest.approx(sizes["pruned_bytes"], rel=0.01), (
        "tied tensors stand in it once too"
    )
    for kind in COMPRESSORS:
        random_bytes = sizes[f"pruned_signed_{kind}_bytes"] - sizes[f"pruned_{kind}_bytes"]
        assert random_bytes > num_weights / 10, "a bit for each, but for the biases, which start at zero"


def test_without_the_signs_there_is_no_second_file(tmp_path: Path) -> None:
    sizes = pruned_sizes(all_pruned()[0], {}, tmp_path)
    assert [name for name in sizes if "signed" in name] == []


def test_the_taskmaster_network_has_the_papers_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compression, "COMPRESSORS", {})
    sides: dict[str, Any] = {
        f"{side}_{what}": value
        for side in ("encoder", "decoder")
        for what, value in {"layers": 2, "attention_heads": 4, "ffn_dim": 256}.items()
    }
    model = BartForConditionalGeneration(BartConfig(vocab_size=32000, d_model=256, **sides))
    size = measure_sizes("dense", model.state_dict(), tmp_path)["dense_bytes"]
    assert round(size / 1e6, 1) == 43.5


def test_a_run_measures_the_dense_and_the_pruned_network(tiny_run: TinyRun) -> None:
    sizes = tiny_run.summary["sizes"]
    kinds = ("", "_gzip_1", "_gzip_9", "_bzip2_1", "_bzip2_9")
    networks = ("dense", "pruned", "pruned_signed")
    assert set(sizes) == {f"{network}{kind}_bytes" for network in networks for kind in kinds}
    assert sizes["pruned_gzip_9_bytes"] < sizes["pruned_signed_gzip_9_bytes"]
    assert sizes["pruned_gzip_9_bytes"] < sizes["dense_gzip_9_bytes"] < sizes["dense_bytes"]


def test_a_run_need_not_measure_them(tmp_path: Path) -> None:
    assert tiny_run(tmp_path, measure_sizes=False).summary["sizes"] is None
