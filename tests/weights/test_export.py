"""The pruned network handed on: read back bit for bit, and generating as it did."""

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer, models, pre_tokenizers
from torch import Tensor
from transformers import AutoTokenizer, BartForConditionalGeneration

from scripts import export as script
from sparsity import config
from sparsity.models.lenet import LeNet5
from sparsity.pruning.masks import Masks
from sparsity.weights.checkpoints import load_checkpoint, save_checkpoint
from sparsity.weights.compaction import resize
from sparsity.weights.export import load_sparse, save_huggingface, save_sparse
from tests.tiny_runs import TinyRun
from tests.training.tiny_bart import BOS, EOS, PAD, copier, sources, tiny_bart

TRUST = ("--trust", "tests.tiny_runs")


def pruned_bart(share: float = 0.9) -> BartForConditionalGeneration:
    """A BART whose weights are zeros to that share; tied ones stay tied."""
    model = tiny_bart()
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(torch.rand(parameter.shape, generator=generator) > share)
    return model


def same_bits(left: Tensor, right: Tensor) -> bool:
    is_alike = left.dtype == right.dtype and left.shape == right.shape
    return is_alike and torch.equal(left.flatten().view(torch.uint8), right.flatten().view(torch.uint8))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.int64, torch.bool])
def test_a_compact_file_gives_back_every_bit(tmp_path: Path, dtype: torch.dtype) -> None:
    sparse = torch.zeros(7, 5)
    sparse[2, 3], sparse[6, 4], sparse[0, 0] = 1.5, -2.0, 3.0
    weights = {"b": sparse, "a": torch.ones(3), "empty": torch.zeros(0), "number": torch.tensor(4.0)}
    weights = {name: value.to(dtype) for name, value in weights.items()}
    save_sparse(tmp_path / "new" / "net.safetensors", weights)
    loaded = load_sparse(tmp_path / "new" / "net.safetensors")
    assert list(loaded) == list(weights)
    for name, value in weights.items():
        assert same_bits(loaded[name], value), name


def test_a_layout_of_channels_last_is_no_other_tensor(tmp_path: Path) -> None:
    weights = (torch.randn(4, 3, 2, 2) * (torch.rand(4, 3, 2, 2) > 0.8)).contiguous(memory_format=torch.channels_last)
    save_sparse(tmp_path / "net.safetensors", {"conv": weights})
    assert torch.equal(load_sparse(tmp_path / "net.safetensors")["conv"], weights)


def test_tied_tensors_are_stored_once_and_read_as_one(tmp_path: Path) -> None:
    model, path = pruned_bart(), tmp_path / "net.safetensors"
    save_sparse(path, model.state_dict())
    loaded = load_sparse(path)
    assert loaded["lm_head.weight"] is loaded["model.shared.weight"]
    again = tiny_bart(seed=1)
    again.load_state_dict(loaded)
    assert all(torch.equal(a, b) for a, b in zip(again.parameters(), model.parameters(), strict=True))


def test_ninety_percent_of_zeros_need_a_tenth_of_the_values_and_a_bit_each(tmp_path: Path) -> None:
    weights = (torch.rand(1000, 1000) > 0.9).float()
    save_sparse(tmp_path / "net.safetensors", {"weight": weights})
    expected = 4 * int(weights.sum()) + 1000 * 1000 / 8
    assert (tmp_path / "net.safetensors").stat().st_size == pytest.approx(expected, abs=1000)


@pytest.mark.parametrize(("num_zeros", "names"), [(31, {"weight"}), (32, {"weight::kept", "weight::mask"})])
def test_a_tensor_is_stored_as_kept_weights_and_bits_where_that_is_smaller(
    tmp_path: Path, num_zeros: int, names: set[str]
) -> None:
    weights = torch.ones(1000)
    weights[:num_zeros] = 0
    save_sparse(tmp_path / "net.safetensors", {"weight": weights})
    assert set(load_file(tmp_path / "net.safetensors")) == names


def test_a_minus_zero_that_a_mask_left_is_no_weight(tmp_path: Path) -> None:
    path, weights = tmp_path / "net.safetensors", -torch.ones(1000)
    save_sparse(path, {"weight": weights * (torch.arange(1000) < 10)})
    assert path.stat().st_size < 1000
    assert not load_sparse(path)["weight"][10:].signbit().any()


def test_another_file_is_refused(tmp_path: Path) -> None:
    save_file({"weight": torch.ones(2)}, tmp_path / "other.safetensors")
    (tmp_path / "text.safetensors").write_text("no weights")
    for name, problem in (("other", "is no compact file"), ("text", "cannot be read"), ("missing", "cannot be read")):
        with pytest.raises(ValueError, match=problem):
            load_sparse(tmp_path / f"{name}.safetensors")


def test_the_hugging_face_folder_generates_as_the_network_did(tmp_path: Path) -> None:
    model: Any = copier(torch.float32)  # its types forbid what its documentation shows
    save_huggingface(tmp_path, model, None)
    loaded: Any = BartForConditionalGeneration.from_pretrained(tmp_path)
    ids, mask = sources(8)
    texts = [each.generate(input_ids=ids, attention_mask=mask, num_beams=4, max_length=30) for each in (model, loaded)]
    assert texts[0].tolist() == texts[1].tolist()


def test_pruned_weights_of_the_hugging_face_folder_are_zeros(tmp_path: Path) -> None:
    model = pruned_bart()
    save_huggingface(tmp_path, model, None)
    loaded = BartForConditionalGeneration.from_pretrained(tmp_path)
    pairs = zip(model.parameters(), loaded.parameters(), strict=True)
    assert all(torch.equal(ours == 0, theirs == 0) for ours, theirs in pairs)
    assert loaded.lm_head.weight is loaded.model.shared.weight


def test_the_tokenizer_of_the_folder_writes_what_the_network_was_trained_on(tmp_path: Path) -> None:
    special = {"<bos>": BOS, "<pad>": PAD, "<eos>": EOS}
    plain = Tokenizer(models.WordLevel(special | {"one": 3, "two": 4}, unk_token="<pad>"))
    plain.pre_tokenizer = pre_tokenizers.Whitespace()
    plain.save(str(tmp_path / "tokenizer.json"))
    save_huggingface(tmp_path / "folder", tiny_bart(), tmp_path / "tokenizer.json")
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "folder")
    batch = tokenizer(["two one", "one"], padding=True)
    assert batch["input_ids"] == [[BOS, 4, 3, EOS], [BOS, 3, EOS, PAD]]
    assert tokenizer.decode([BOS, 4, 3, EOS, PAD], skip_special_tokens=True) == "two one"


def test_the_script_exports_a_run_and_shows_the_sizes(
    tiny_run: TinyRun, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert script.main([*TRUST, str(tiny_run.directory), "--to", str(tmp_path / "out")]) == 0
    kept = load_checkpoint(tiny_run.directory / "checkpoints" / "finetune" / "last" / "best.pt")["weights"]
    loaded = load_sparse(tmp_path / "out" / "sparse.safetensors")
    assert all(same_bits(loaded[name], kept[name]) for name in kept)
    size = (tmp_path / "out" / "sparse.safetensors").stat().st_size
    assert f"{size:,} bytes  sparse.safetensors" in capsys.readouterr().out


def test_unless_told_otherwise_the_script_exports_the_network_of_the_last_row(
    tiny_run: TinyRun, tmp_path: Path
) -> None:
    run = shutil.copytree(tiny_run.directory, tmp_path / "run")
    for path in run.glob("checkpoints/**/*.pt"):
        if path != run / "checkpoints" / "finetune" / "last" / "best.pt":
            path.unlink()
    assert script.main([*TRUST, str(run), "--to", str(tmp_path / "out")]) == 0


def test_the_script_writes_into_no_directory_that_holds_files(
    tiny_run: TinyRun, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    assert script.main([*TRUST, str(tiny_run.directory), "--to", str(tmp_path)]) == 1
    assert capsys.readouterr().err == f"error: {tmp_path} is not empty; name a new directory.\n"


def test_the_script_leaves_the_networks_that_a_run_of_earlier_code_lacks(tiny_run: TinyRun, tmp_path: Path) -> None:
    copy = tmp_path.joinpath(*tiny_run.directory.parts[-3:])
    shutil.copytree(tiny_run.directory, copy, ignore=shutil.ignore_patterns("networks", "card.json"))
    assert script.main([*TRUST, str(copy)]) == 0
    for name in ("card.json", "networks/last.safetensors", "networks/paper_sparsity.safetensors"):
        assert (copy / name).read_bytes() == (tiny_run.directory / name).read_bytes()


def test_the_script_answers_a_checkpoint_that_is_missing_with_those_that_there_are(
    tiny_run: TinyRun, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = [
        *TRUST,
        str(tiny_run.directory),
        "--to",
        str(tmp_path / "out"),
        "--checkpoint",
        "finetune/nowhere/best",
    ]
    assert script.main(arguments) == 1
    assert capsys.readouterr().err == (
        f"error: {tiny_run.directory} has kept no network finetune/nowhere/best; --checkpoint may be "
        "finetune/last/best, finetune/paper_sparsity/best, regularise/best, regularise/last_network, "
        "regularise/paper_sparsity.\n"
    )


@pytest.mark.parametrize("is_left", [False, True], ids=["one", "all"])
def test_a_sound_checkpoint_that_does_not_fit_speaks_against_the_settings_and_is_not_to_be_removed(
    tiny_run: TinyRun, tmp_path: Path, capsys: pytest.CaptureFixture[str], is_left: bool
) -> None:
    run = tmp_path.joinpath(*tiny_run.directory.parts[-3:])
    shutil.copytree(tiny_run.directory, run)
    text = (run / "config.yaml").read_text()
    changed = text.replace("tests.tiny_runs.TinyNet", "torch.nn.Identity")
    assert changed != text
    (run / "config.yaml").write_text(changed)
    asked = [*TRUST, "--trust", "torch.nn", str(run), *([] if is_left else ["--to", str(tmp_path / "out")])]
    assert script.main(asked) == 1
    said = capsys.readouterr().err
    assert said.endswith(f"Put back {run}/config.yaml as the run wrote it: it describes another one.\n"), said
    assert "Remove" not in said


def test_what_cannot_be_compacted_leaves_nothing_that_bars_the_corrected_command(
    tiny_run: TinyRun, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = [*TRUST, str(tiny_run.directory), "--to", str(tmp_path / "out")]
    assert script.main([*asked, "--compact"]) == 1
    assert not list(tmp_path.iterdir())
    assert script.main(asked) == 0
    assert capsys.readouterr().err.count("error: ") == 1


def test_what_cannot_be_written_leaves_nothing_of_what_was(
    tiny_run: TinyRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise ValueError("no such operator")

    monkeypatch.setattr(script, "write_onnx", refuse)
    monkeypatch.setattr("sparsity.weights.onnx_files.check_extra", lambda: None)
    assert script.main([*TRUST, str(tiny_run.directory), "--to", str(tmp_path / "out"), "--format", "onnx"]) == 1
    assert not list(tmp_path.iterdir())


def test_the_script_adds_a_compacted_network_that_a_new_one_takes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    model = LeNet5()
    for parameter in model.parameters():
        parameter.data.mul_(torch.rand_like(parameter) > 0.99)
    path = tmp_path / "run" / "checkpoints" / "finetune" / "last" / "best.pt"
    save_checkpoint(path, {"weights": model.state_dict(), "masks": Masks(dict(model.named_parameters())).state_dict()})
    settings = config.compose(["experiment=lenet5_mnist", "scale=smoke"])
    monkeypatch.setattr(config, "from_run", lambda *_: settings)
    assert script.main([str(tmp_path / "run"), "--to", str(tmp_path / "out"), "--compact"]) == 0
    assert "of 431,080 weights in a smaller dense network" in capsys.readouterr().out
    again, images = LeNet5(), torch.randn(3, 1, 28, 28)
    resize(again, load_sparse(tmp_path / "out" / "compact.safetensors"))
    torch.testing.assert_close(again(images), model(images), rtol=1e-4, atol=1e-5)
