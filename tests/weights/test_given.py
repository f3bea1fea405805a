"""Networks in the files that people have: read as what they are, or refused in one sentence."""

import copy
import os
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn.utils import prune

from sparsity.data.published.checkpoints import PUBLISHED, recognised
from sparsity.data.published.download import checksum, fetch
from sparsity.models.resnet import resnet32
from sparsity.weights.checkpoints import CheckpointError
from sparsity.weights.export import save_sparse
from sparsity.weights.given import read_weights

MIRROR = Path(os.environ.get("SPARSITY_DATA_MIRROR", "/nowhere"))


class Net(nn.Module):
    """A convolution, a batch norm with its counter, and two layers that share their weights."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 3, 2)
        self.norm = nn.BatchNorm2d(3)
        self.first = nn.Linear(3, 3)
        self.second = nn.Linear(3, 3)
        self.second.weight = self.first.weight


class Holder(nn.Module):
    """What a wrapper makes of a network: a part of another."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.model = net


@pytest.fixture
def net() -> Net:
    """A network of which no weight is as another's was drawn."""
    net = Net()
    with torch.no_grad():
        for number, parameter in enumerate(net.parameters(), 1):
            parameter.copy_(torch.arange(1.0, parameter.numel() + 1).view(parameter.shape) / number)
        net.norm.running_mean.fill_(0.5)  # type: ignore[union-attr]
    return net


def pruned_by_torch(net: Net) -> dict[str, Tensor]:
    """As torch.nn.utils.prune leaves a network: the weights before, and masks."""
    masked = copy.deepcopy(net)
    prune.random_unstructured(masked.conv, "weight", 5)
    prune.random_unstructured(masked.conv, "bias", 1)
    state: dict[str, Tensor] = masked.state_dict()
    assert "conv.weight_orig" in state and "conv.bias_mask" in state
    with torch.no_grad():  # and what is expected of it
        net.conv.weight.copy_(masked.conv.weight)
        net.conv.bias.copy_(masked.conv.bias)  # type: ignore[union-attr]
    return state


def as_halves(net: Net) -> dict[str, Tensor]:
    for parameter in net.parameters():
        parameter.data = parameter.data.half().float()
    return copy.deepcopy(net).half().state_dict()


def without_counter(net: Net) -> dict[str, Tensor]:
    return {name: value for name, value in net.state_dict().items() if not name.endswith("num_batches_tracked")}


def save_untied(net: Net, path: Path) -> None:
    """As transformers' save_pretrained: tied tensors once."""
    save_file({name: value for name, value in net.state_dict().items() if name != "second.weight"}, path)


def legacy(state: Any, path: Path) -> None:
    torch.save(state, path, _use_new_zipfile_serialization=False)


FORMS: dict[str, Callable[[Net, Path], None]] = {
    "plain": lambda net, path: torch.save(net.state_dict(), path),
    "legacy": lambda net, path: legacy(net.state_dict(), path),
    "ours": lambda net, path: torch.save({"weights": net.state_dict(), "masks": {}, "saw": ["a/train"]}, path),
    "state_dict": lambda net, path: torch.save({"epoch": 3, "state_dict": net.state_dict()}, path),
    "model_state_dict": lambda net, path: legacy({"model_state_dict": net.state_dict(), "loss": 0.1}, path),
    "safetensors": save_untied,
    "compact": lambda net, path: save_sparse(path, net.state_dict()),
    "DataParallel": lambda net, path: torch.save(nn.DataParallel(net).state_dict(), path),
    "two wrappers": lambda net, path: torch.save({"state_dict": nn.DataParallel(Holder(net)).state_dict()}, path),
    "prune": lambda net, path: torch.save(pruned_by_torch(net), path),
    "parameters": lambda net, path: torch.save(net.state_dict(keep_vars=True), path),
    "float16": lambda net, path: torch.save(as_halves(net), path),
    "no counter": lambda net, path: torch.save(without_counter(net), path),
}


@pytest.mark.parametrize("form", FORMS)
def test_a_network_is_read_in_the_forms_that_people_have(net: Net, form: str, tmp_path: Path) -> None:
    FORMS[form](net, tmp_path / "file")
    given = read_weights(tmp_path / "file", Net())
    fresh = Net()
    fresh.load_state_dict(given.weights)
    expected = net.state_dict()
    assert given.weights.keys() == expected.keys()
    assert all(torch.equal(value, expected[name]) for name, value in fresh.state_dict().items())
    assert given.saw == (("a/train",) if form == "ours" else None)


def changed(**changes: Any) -> Callable[[Net, Path], None]:
    """A file in which weights stand that do not fit; None takes one away."""

    def save(net: Net, path: Path) -> None:
        state = net.state_dict() | {name.replace("__", "."): value for name, value in changes.items()}
        torch.save({name: value for name, value in state.items() if value is not None}, path)

    return save


def scripted(net: Net, path: Path) -> None:
    """A file of TorchScript, by the name that tells it."""
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("net/constants.pkl", "")


OBJECTS = "holds Python objects ({}), such as a whole pickled model, and reading these could run code of the file: save"
ANOTHER = "is a checkpoint of another model: "
REFUSED: dict[str, tuple[Callable[[Net, Path], Any], str]] = {
    "missing file": (lambda net, path: None, "There is no checkpoint at {path}; check the path."),
    "folder": (lambda net, path: path.mkdir(), "{path} is a folder; name the checkpoint in it."),
    "empty": (lambda net, path: path.touch(), "The checkpoint {path} is empty: have it anew."),
    "random bytes": (lambda net, path: path.write_bytes(bytes(range(7, 250))), "{path} is no checkpoint that torch or"),
    "text": (
        lambda net, path: path.write_text("<html>404</html>"),
        "{path} is no checkpoint that torch or safetensors",
    ),
    "empty archive": (
        lambda net, path: zipfile.ZipFile(path, "w").close(),
        "{path} is no checkpoint that torch or safetensors wrote; give a file",
    ),
    "parts of an archive": (
        lambda net, path: path.write_bytes(bytes(30) + b"PK\6\7" + bytes([1] * 16) + b"PK\5\6" + bytes(18)),
        "{path} is no checkpoint that torch or safetensors wrote; give a file",
    ),
    "plain pickle": (
        lambda net, path: path.write_bytes(pickle.dumps(os.system)),
        "{path} is no checkpoint that torch or safetensors wrote; give a file of its weights, such as torch.save(model",
    ),
    "whole model": (lambda net, path: torch.save(net, path), "{path} " + OBJECTS.format(f"{__name__}.Net")),
    "legacy model": (lambda net, path: legacy(net, path), "{path} " + OBJECTS.format(f"{__name__}.Net")),
    "objects": (lambda net, path: torch.save({"a": os.system}, path), "{path} " + OBJECTS.format("posix.system")),
    "TorchScript": (scripted, "{path} " + OBJECTS.format("TorchScript")),
    "list": (
        lambda net, path: torch.save([torch.ones(1)], path),
        "{path} has no weights by themselves nor under weigh",
    ),
    "numbered": (lambda net, path: torch.save({0: torch.ones(1)}, path), "{path} has no weights by themselves nor und"),
    "elsewhere": (
        lambda net, path: torch.save({"epoch": 3, "ema": net.state_dict()}, path),
        "{path} has no weights by themselves nor under weights, state_dict, model_state_dict, model, net; it holds "
        "epoch, ema: give a file",
    ),
    "no tensors": (lambda net, path: torch.save({"weights": 3}, path), "{path} has no weights by themselves nor under"),
    "two networks": (
        lambda net, path: torch.save({"state_dict": net.state_dict(), "model": net.state_dict()}, path),
        "{path} has weights under state_dict and model: keep one of them.",
    ),
    "missing": (changed(conv__bias=None), "{path} " + ANOTHER + "conv.bias, which Net has, is missing; give a check"),
    "unexpected": (changed(fc=torch.ones(1)), "{path} " + ANOTHER + "fc is none of Net's; give a checkpoint of this"),
    "another shape": (
        changed(conv__bias=torch.ones(4)),
        "{path} " + ANOTHER + "conv.bias has shape (4,) there and (3,) in Net; give a checkpoint of this model.",
    ),
    "several": (
        changed(conv__bias=None, fc=torch.ones(1)),
        "{path} " + ANOTHER + "conv.bias, which Net has, is missing (and 1 more do not fit); give",
    ),
    "no values": (
        changed(conv__bias=torch.ones(3, device="meta")),
        "{path} " + ANOTHER + "conv.bias has a shape there but no values; give a checkpoint of this model.",
    ),
    "quantised": (
        changed(conv__bias=torch.ones(3, dtype=torch.int8)),
        "{path} " + ANOTHER + "conv.bias is of torch.int8, torch.strided there, which is not what Net computes with",
    ),
    "complex": (
        changed(conv__bias=torch.ones(3, dtype=torch.complex64)),
        "{path} " + ANOTHER + "conv.bias is of torch.complex64, torch.strided there, which is not what Net computes",
    ),
    "not finite": (
        changed(conv__bias=torch.tensor([1.0, torch.nan, -torch.inf])),
        "{path} holds 2 of 3 values in conv.bias that are not finite",
    ),
    "too large": (
        changed(conv__bias=torch.tensor([1.0, 2.0, 1e300], dtype=torch.float64)),
        "{path} holds 1 of 3 values in conv.bias that are not finite",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_no_network_of_this_model_is_refused_in_one_sentence(net: Net, case: str, tmp_path: Path) -> None:
    write, sentence = REFUSED[case]
    path = tmp_path / "file"
    write(net, path)
    with pytest.raises(CheckpointError) as caught:
        read_weights(path, Net())
    assert str(caught.value).startswith(sentence.format(path=path))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("form", ["plain", "legacy", "safetensors", "compact"])
def test_a_file_cut_short_is_named_as_damaged(net: Net, form: str, tmp_path: Path) -> None:
    path = tmp_path / "file"
    FORMS[form](net, path)
    path.write_bytes(path.read_bytes()[:-50])
    with pytest.raises(CheckpointError, match=r"^The checkpoint \S+file is damaged \(.*\)\.$"):
        read_weights(path, Net())


@pytest.mark.parametrize("num_bytes", [64, 150, 200, 260, 400])
def test_a_file_of_the_old_format_is_damaged_wherever_it_is_cut(net: Net, num_bytes: int, tmp_path: Path) -> None:
    path = tmp_path / "file"
    FORMS["legacy"](net, path)
    path.write_bytes(path.read_bytes()[:num_bytes])
    with pytest.raises(CheckpointError, match=r"^The checkpoint \S+file is damaged \([^()]*\w\)\.$"):
        read_weights(path, Net())


def test_a_damaged_file_is_not_said_to_be_readable_in_an_unsafe_way(net: Net, tmp_path: Path) -> None:
    legacy(net.state_dict(), tmp_path / "file")
    content = bytearray((tmp_path / "file").read_bytes())
    content[130] = 255  # no operation of a pickle
    (tmp_path / "file").write_bytes(content)
    with pytest.raises(CheckpointError) as caught:
        read_weights(tmp_path / "file", Net())
    assert str(caught.value) == f"The checkpoint {tmp_path}/file is damaged (UnpicklingError)."


@pytest.mark.skipif("not (MIRROR / 'checkpoints').exists()", reason="SPARSITY_DATA_MIRROR has no checkpoints")
def test_the_file_that_the_literature_publishes_is_read_and_recognised_under_any_name(tmp_path: Path) -> None:
    published = PUBLISHED["resnet32", "cifar10"]
    path = tmp_path / "mine.pt"
    path.write_bytes(fetch(published.file, str(tmp_path)).read_bytes())
    weights = read_weights(path, resnet32()).weights
    raw = torch.load(path, map_location="cpu", weights_only=True)["state_dict"]
    assert all(torch.equal(weights[name.removeprefix("module.")], value) for name, value in raw.items())
    assert recognised(checksum(published.file, str(tmp_path))) is published


def test_a_file_that_nobody_publishes_is_not_recognised() -> None:
    assert recognised("0" * 64) is None
