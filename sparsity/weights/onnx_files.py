"""A network as an ONNX file, which other programs run without torch; held against torch before it is written."""

import warnings
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from sparsity.files import replaced
from sparsity.weights.inputs import Inputs, check_same, drawn_inputs, scorer

PACKAGES = ("onnx", "onnxscript", "onnxruntime")
NUM_TRACED, NUM_COMPARED = 3, 5  # examples: another batch size than the traced one shows that it may vary


def check_extra() -> None:
    """Refuse where what writes and runs these files is not installed.

    Raises:
        ValueError: with what to install.
    """
    if not has_extra():
        raise ValueError('ONNX files come with an extra: pip install -c constraints.txt -e ".[onnx]".')


def has_extra() -> bool:
    """Whether these files can be written and run here."""
    return all(find_spec(package) is not None for package in PACKAGES)


def save_onnx(path: Path, model: nn.Module, shape: tuple[int, ...] | None, like: nn.Module) -> float:
    """Write a network as a file of any batch size and return the largest difference of its scores.

    Args:
        path: usually `<something>.onnx`.
        model: LeNet-5, a ResNet, a VGG or a Transformer; a Transformer is written from source and target so far to the
            scores of each next token, without the search.
        shape: of an input image, None of texts.
        like: the network in torch that the file is held against, which a compacted one is not itself.

    Raises:
        ValueError: if the extra is not installed, or the file would compute something else.
    """
    check_extra()
    content = exported(model, shape)
    largest = difference(content, like, shape)
    path.parent.mkdir(parents=True, exist_ok=True)
    with replaced(path) as file:
        file.write(content)
    return largest


def exported(model: nn.Module, shape: tuple[int, ...] | None) -> bytes:
    """The content of such a file."""
    inputs = drawn_inputs(model, shape, NUM_TRACED)
    named = {name: torch.export.Dim(name) for of in inputs.varying.values() for name in of.values()}
    varying = tuple({at: named[name] for at, name in of.items()} for of in inputs.varying.values())
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="# The axis name")  # that inputs share one is what is meant
        program = torch.onnx.export(
            scorer(model),
            tuple(inputs.tensors.values()),
            input_names=list(inputs.tensors),
            output_names=["scores"],
            dynamic_shapes=varying,
            dynamo=True,
            verbose=False,
        )
    assert program is not None
    content: bytes = program.model_proto.SerializeToString()
    return content


def difference(content: bytes, like: nn.Module, shape: tuple[int, ...] | None) -> float:
    """The largest difference between the scores of a file and those of a network in torch.

    Raises:
        ValueError: if it is more than rounding.
    """
    inputs = drawn_inputs(like, shape, NUM_COMPARED)
    with torch.inference_mode():
        expected = scorer(like)(*inputs.tensors.values())
    return check_same(scores_of(session(content), inputs), expected, "The ONNX file, which was not kept,")


def session(content: bytes, num_threads: int = 1) -> Any:
    """The network of a file, ready to run on the CPU."""
    from onnxruntime import InferenceSession, SessionOptions

    options = SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = num_threads, 1
    return InferenceSession(content, options, providers=["CPUExecutionProvider"])


def scores_of(network: Any, inputs: Inputs) -> Tensor:
    """What the network of a file says to a batch."""
    (scores,) = network.run(None, {name: tensor.numpy() for name, tensor in inputs.tensors.items()})
    return torch.from_numpy(scores)
