"""Networks as ONNX files: of any batch size, computing what torch computes, refused where they would not."""

import copy
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn

from scripts import export as script
from sparsity import config
from sparsity.models.lenet import LeNet5
from sparsity.models.resnet import resnet32
from sparsity.models.vgg import vgg16
from sparsity.pruning.masks import Masks
from sparsity.weights import onnx_files
from sparsity.weights.checkpoints import save_checkpoint
from sparsity.weights.compaction import compact
from sparsity.weights.inputs import drawn_inputs, scorer
from sparsity.weights.onnx_files import difference, exported, save_onnx, scores_of, session
from tests.tiny_runs import TinyNet, TinyRun
from tests.training.tiny_bart import tiny_bart

pytest.importorskip("onnxruntime", reason="the extra onnx is not installed; `make env` does")
pytest.importorskip("onnxscript", reason="the extra onnx is not installed; `make env` does")

LENET = (1, 28, 28)
OTHERS: dict[Callable[[], nn.Module], tuple[int, ...] | None] = {
    lambda: vgg16(10, [8, "M", 16, 16, "M"], 32): (3, 28, 28),
    lambda: resnet32(width=4, blocks_per_stage=1): (3, 32, 32),
    tiny_bart: None,
}


@torch.no_grad()
def pruned_lenet() -> LeNet5:
    """A tenth of the weights is left; units of which nothing is left say a constant."""
    torch.manual_seed(0)
    model = LeNet5().eval()
    for parameter in model.parameters():
        parameter.mul_(torch.rand_like(parameter) > 0.9)
        parameter[::3] = 0
    return model


@pytest.fixture(scope="module")
def lenet() -> tuple[LeNet5, bytes]:
    """A pruned network and the content of its file: a second or more, so once."""
    model = pruned_lenet()
    return model, exported(model, LENET)


@pytest.mark.parametrize("size", [1, 8])
def test_a_file_computes_what_torch_does_at_any_batch_size(lenet: tuple[LeNet5, bytes], size: int) -> None:
    model, content = lenet
    inputs = drawn_inputs(model, LENET, size)
    with torch.no_grad():
        torch.testing.assert_close(
            scores_of(session(content), inputs), model(inputs.tensors["images"]), rtol=1e-4, atol=1e-5
        )


def test_a_file_with_another_weight_is_told_from_rounding(lenet: tuple[LeNet5, bytes]) -> None:
    model, content = lenet
    assert difference(content, model, LENET) < 1e-5
    other = copy.deepcopy(model)
    other.fc2.bias.data[3] += 0.01
    with pytest.raises(ValueError, match=r"^The ONNX file, .* something else than the network in torch: .* 1\.0e-02"):
        difference(content, other, LENET)


def test_scores_that_are_no_numbers_are_no_rounding(lenet: tuple[LeNet5, bytes]) -> None:
    model, content = lenet
    broken = copy.deepcopy(model)
    broken.fc2.bias.data[3] = torch.nan
    with pytest.raises(ValueError, match="something else"):
        difference(content, broken, LENET)


def test_a_file_that_would_say_something_else_is_not_written(
    lenet: tuple[LeNet5, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, content = lenet
    monkeypatch.setattr(onnx_files, "exported", lambda *_: content)
    other = copy.deepcopy(model)
    other.fc2.bias.data[3] += 0.01
    with pytest.raises(ValueError, match="which was not kept"):
        save_onnx(tmp_path / "network.onnx", model, LENET, other)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
@pytest.mark.parametrize("build", OTHERS)
def test_every_kind_of_network_can_be_written(build: Callable[[], nn.Module], tmp_path: Path) -> None:
    model = build().eval()
    largest = save_onnx(tmp_path / "network.onnx", model, OTHERS[build], model)
    inputs = drawn_inputs(model, OTHERS[build], 2, length=9)
    scores = scores_of(session((tmp_path / "network.onnx").read_bytes()), inputs)
    with torch.no_grad():
        expected = scorer(model)(*inputs.tensors.values())
    assert (scores - expected).abs().max() <= 1e-4 * expected.abs().max() and largest >= 0


def test_the_script_writes_the_network_and_the_compacted_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    model, written = pruned_lenet(), []

    def export(network: LeNet5, _: object) -> bytes:
        written.append(network)
        return b"content"

    monkeypatch.setattr(onnx_files, "exported", export)
    monkeypatch.setattr(onnx_files, "difference", lambda content, like, _: 2e-7 if like is model else 1.0)
    script.write_onnx(tmp_path, {"network": model, "compact": script.compacted(model)}, LENET)
    out = capsys.readouterr().out
    for name in ("network", "compact"):
        assert (tmp_path / f"{name}.onnx").read_bytes() == b"content"
        assert f"{name}.onnx: scores of 5 drawn inputs differ from torch's by at most 2.0e-07" in out
    units = [len(network.fc1.weight) for network in written]
    assert units[0] == 500 and units[1] == compact(model)["fc1"] < 500


def test_without_the_extra_the_script_says_what_to_install(
    tiny_run: TinyRun, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(onnx_files, "PACKAGES", ("no_such_package",))
    arguments = ["--trust", "tests.tiny_runs", str(tiny_run.directory), "--to", str(tmp_path / "out")]
    assert script.main([*arguments, "--format", "onnx"]) == 1
    assert capsys.readouterr().err == (
        'error: ONNX files come with an extra: pip install -c constraints.txt -e ".[onnx]".\n'
    )
    assert not (tmp_path / "out").exists()


def test_a_network_whose_inputs_nobody_knows_is_named() -> None:
    with pytest.raises(ValueError, match="What TinyNet takes is not known"):
        drawn_inputs(TinyNet(), None, 2)


def test_what_is_to_be_written_besides_needs_a_directory(tiny_run: TinyRun, capsys: pytest.CaptureFixture[str]) -> None:
    for asked in (["--compact"], ["--format", "onnx"]):
        with pytest.raises(SystemExit):
            script.main([str(tiny_run.directory), *asked])
        assert "add --to DIRECTORY" in capsys.readouterr().err


@pytest.mark.slow
def test_the_script_exports_a_run_and_its_compacted_network_as_files(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    model = pruned_lenet()
    path = tmp_path / "run" / "checkpoints" / "finetune" / "last" / "best.pt"
    save_checkpoint(path, {"weights": model.state_dict(), "masks": Masks(dict(model.named_parameters())).state_dict()})
    settings = config.compose(["experiment=lenet5_mnist", "scale=smoke"])
    monkeypatch.setattr(config, "from_run", lambda *_: settings)
    assert script.main([str(tmp_path / "run"), "--to", str(tmp_path / "out"), "--compact", "--format", "onnx"]) == 0
    assert {path.name for path in (tmp_path / "out").glob("*.onnx")} == {"network.onnx", "compact.onnx"}
    assert (tmp_path / "out/compact.onnx").stat().st_size < (tmp_path / "out/network.onnx").stat().st_size / 2
