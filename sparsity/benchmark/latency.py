"""What a pruned network costs to run, form by form: as it is, as sparse products, and made smaller.

All forms compute the same function but for the dense one, a network of the same build without a zero; each is held
against the pruned network before it is timed. Forms take turns. Memory is that of a fresh process for each form.
What it costs to train is a forward and a backward pass, of all units and of the live ones alone.
"""

import copy
import subprocess
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from sparsity.benchmark.memory import peak_bytes
from sparsity.benchmark.timing import Contestant, spread, time_in_turns
from sparsity.hardware import cpu, machine
from sparsity.pruning.masks import Masks
from sparsity.training.tasks import Classification
from sparsity.training.weight_view import WeightView
from sparsity.weights import onnx_files
from sparsity.weights.compaction import compact
from sparsity.weights.csr import as_csr
from sparsity.weights.inputs import Inputs, check_same, drawn_inputs, scorer
from sparsity.weights.live_units import live_units

Form = Callable[[Inputs], Tensor]

DENSE, MASKED, CSR, COMPACT, ONNX = FORMS = ("dense", "masked", "csr", "compact", "compact_onnx")
CPU = torch.device("cpu")
NUM_COMPARED = 5
STEPS = 32  # forwards of a block are so many over the batch size, at least one
TRAINED = {"images": 100, "source": 8}  # examples at once in training, of images and of sentences


@dataclass(frozen=True)
class Subject:
    """A pruned network.

    Attributes:
        sha256: of its file.
        experiment: whose network it is. pruner: what made it, empty if nobody says.
        dense: another of its build, with no zeros. pruned: it itself.
        shape: of an input image, None of texts.
    """

    sha256: str
    experiment: str
    pruner: str
    dense: nn.Module
    pruned: nn.Module
    shape: tuple[int, ...] | None


def latency_measurements(
    subject: Subject, batches: Sequence[int], num_rounds: int, num_threads: int, fresh: Sequence[str]
) -> Iterator[dict[str, Any]]:
    """Where it is measured, how far each form is from the pruned network, times of each at each batch size, memory.

    Args:
        fresh: a command that calls `measure_forward` for this network and the form and batch size added to it.

    Raises:
        ValueError: if a form computes something else.
    """
    torch.set_num_threads(num_threads)
    yield environment(subject)
    forms = {name: form for name in FORMS if (form := form_of(subject, name, num_threads))}
    expected = forms[MASKED](drawn_inputs(subject.pruned, subject.shape, NUM_COMPARED))
    for name in [name for name in forms if name not in (DENSE, MASKED)]:
        found = forms[name](drawn_inputs(subject.pruned, subject.shape, NUM_COMPARED))
        yield {"measured": "same function", "form": name, "max_abs_difference": check_same(found, expected, name)}
    for batch in batches:
        yield from _times(forms, drawn_inputs(subject.pruned, subject.shape, batch), batch, num_rounds)
    yield from _training(subject, num_rounds)
    for name in forms:
        if peak := _memory([*fresh, name, str(max(batches))]):
            yield {"measured": "memory", "form": name, "batch": max(batches), "bytes": peak}


def environment(subject: Subject) -> dict[str, Any]:
    """Where and on what it is measured."""
    return {
        "measured": "environment",
        "network": subject.sha256,
        "experiment": subject.experiment,
        "pruner": subject.pruner,
        "data": "drawn",
        "device": machine.describe(CPU),
        "precision": "fp32",
        "bf16_units": cpu.has_bf16_units(),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
    }


def form_of(subject: Subject, name: str, num_threads: int) -> Form | None:
    """A network in one of `FORMS`, ready to run; None where it has no such form, or the extra for it is not installed.

    Dense layers get their images in channels_last, as in training: on a CPU that is the faster layout.
    """
    if name in (DENSE, MASKED):
        return _dense_form(subject.dense if name == DENSE else subject.pruned)
    if name == CSR:
        return _form(as_csr(subject.pruned))
    compacted = _compacted(subject.pruned)
    if compacted is None or (name == ONNX and not onnx_files.has_extra()):
        return None
    if name == COMPACT:
        return _dense_form(compacted)
    session = onnx_files.session(onnx_files.exported(compacted, subject.shape), num_threads)
    return lambda inputs: onnx_files.scores_of(session, inputs)


def measure_forward(subject: Subject, name: str, batch: int, num_threads: int) -> None:
    """Print the bytes that a forward takes at its peak, after one of a single example; 0 if nobody can count them."""
    torch.set_num_threads(num_threads)
    form = form_of(subject, name, num_threads)
    assert form is not None, "it was timed"
    form(drawn_inputs(subject.pruned, subject.shape, 1))  # what libraries set up once is not the forward's
    inputs = drawn_inputs(subject.pruned, subject.shape, batch)
    print(peak_bytes(lambda: form(inputs)) or 0, flush=True)


def _compacted(model: nn.Module) -> nn.Module | None:
    """A smaller dense network with the same function; None where no chain of its layers is known."""
    smaller = copy.deepcopy(model)
    try:
        compact(smaller)
    except ValueError:
        return None
    return smaller


def _dense_form(model: nn.Module) -> Form:
    return _form(copy.deepcopy(model).to(memory_format=torch.channels_last))


def _form(model: nn.Module) -> Form:
    scores = scorer(model)

    def run(inputs: Inputs) -> Tensor:
        with torch.inference_mode():
            found: Tensor = scores(*inputs.tensors.values())
        return found

    return run


def _times(forms: dict[str, Form], inputs: Inputs, batch: int, num_rounds: int) -> Iterator[dict[str, Any]]:
    """Milliseconds of each form, and how many times those of the dense one, round by round."""
    num_untimed = int(batch < STEPS)  # what another form has left in the cache weighs on short ones alone
    contestants = {name: Contestant(partial(form, inputs), num_untimed) for name, form in forms.items()}
    seconds = time_in_turns(contestants, num_rounds, max(1, STEPS // batch), CPU)
    for name, found in seconds.items():
        milliseconds = spread([1000 * value for value in found], "milliseconds")
        yield {"measured": "latency", "form": name, "batch": batch, **milliseconds, "rounds": num_rounds}
        if name != DENSE:
            ratios = [value / dense for value, dense in zip(found, seconds[DENSE], strict=True)]
            yield {"measured": "over dense", "form": name, "batch": batch, **spread(ratios, "ratio")}


def _training(subject: Subject, num_rounds: int) -> Iterator[dict[str, Any]]:
    """A forward and a backward pass of all units, and of the live ones over it; nothing where none can be left out."""
    model = copy.deepcopy(subject.pruned).to(memory_format=torch.channels_last)
    masks = Masks(dict(model.named_parameters()))
    masks.shrink({name: parameter != 0 for name, parameter in model.named_parameters()})
    live, scores = live_units(model, masks), scorer(model)
    if live is None:
        return
    batch = TRAINED["source" if subject.shape is None else "images"]
    inputs = drawn_inputs(model, subject.shape, batch).tensors.values()

    def step(view: WeightView) -> None:
        model.zero_grad(set_to_none=True)
        view.evaluated(lambda: scores(*inputs).square().mean()).backward()

    views = {"all": WeightView(model, Classification(), ()), "live": WeightView(model, Classification(), (), live)}
    contestants = {name: Contestant(partial(step, view)) for name, view in views.items()}
    seconds = time_in_turns(contestants, num_rounds, 2, CPU)
    milliseconds = spread([1000 * value for value in seconds["all"]], "milliseconds")
    yield {"measured": "training of all units", "batch": batch, **milliseconds, "rounds": num_rounds}
    ratios = [some / whole for some, whole in zip(seconds["live"], seconds["all"], strict=True)]
    yield {"measured": "live units / all", "batch": batch, **spread(ratios, "ratio")}


def _memory(command: Sequence[str]) -> int:
    """The bytes that a fresh process counts.

    Raises:
        ValueError: if it fails.
    """
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True)
    if done.returncode != 0:
        raise ValueError("A process that was to be measured has failed: mend what it says above, and try again.")
    return int(done.stdout)
