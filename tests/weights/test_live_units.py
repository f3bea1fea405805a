"""Steps of the network that is left: the same loss, gradients and training as of the whole one, but for rounding."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sparsity import config
from sparsity.models.lenet import LeNet5
from sparsity.models.resnet import resnet32
from sparsity.models.vgg import vgg16
from sparsity.pruning.masks import Masks
from sparsity.run.experiment import Setup
from sparsity.settings import MachineSettings, OptimizerSettings
from sparsity.training.extensions import Extensions
from sparsity.training.loop import Trainer
from sparsity.training.tasks import Batch, Classification
from sparsity.training.weight_view import WeightView
from sparsity.weights.live_units import LiveUnits, live_units
from tests.tiny_runs import tiny_data, tiny_experiment
from tests.training.fakes import OPTIMIZERS, FakeBatches, phase, pruner
from tests.training.tiny_bart import tiny_bart

DOUBLE = torch.float64


def caffe_lenet() -> nn.Module:
    return LeNet5(conv_relu=False)


def small_vgg(dropout: float = 0.0) -> nn.Module:
    """Padded convolutions; linear layers of 64 units, between which the units stay if there is dropout."""
    model = vgg16(10, [16, "M", 32, 32, "M"], 64)
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = dropout
    return model


IMAGES = {LeNet5: (1, 28, 28), caffe_lenet: (1, 28, 28), small_vgg: (3, 28, 28)}


def cut(model: nn.Module, seed: int = 0) -> Masks:
    """Random masks, with units of which nothing leads to some and nothing away from others."""
    generator = torch.Generator().manual_seed(seed)
    masks = Masks(dict(model.named_parameters()))
    kept = {name: torch.rand(of.shape, generator=generator) > 0.5 for name, of in model.named_parameters()}
    for name, keep in kept.items():
        if keep.dim() > 1 and "embed" not in name and "shared" not in name:
            empty = torch.rand(len(keep), generator=generator) > 0.4
            keep[empty] = False
            bias = kept.get(name.replace("weight", "bias"))
            if bias is not None:
                bias[empty & (torch.arange(len(keep)) % 5 > 0)] = False  # of some the bias is left, so they are not cut
            unused = torch.rand(keep.shape[1], generator=generator) > 0.8
            keep[:, unused] = False
    masks.shrink(kept)
    return masks


def gradients(model: nn.Module, act: Callable[[], Tensor], live: LiveUnits | None) -> tuple[Tensor, dict[str, Tensor]]:
    """What `act` gives of the network, and the gradients of that."""
    model.zero_grad(set_to_none=True)
    value = WeightView(model, Classification(), (), live).evaluated(act)
    value.backward()
    return value.detach(), {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


def check_equal(model: nn.Module, masks: Masks, act: Callable[[], Tensor]) -> LiveUnits:
    """Hold the step of the live units to be that of all."""
    live = live_units(model, masks)
    assert live is not None
    (expected, whole), (value, parts) = gradients(model, act, None), gradients(model, act, live)
    torch.testing.assert_close(value, expected, rtol=1e-12, atol=1e-12)
    assert whole.keys() == parts.keys()
    for name, gradient in whole.items():
        masked = gradient * masks.multipliers[name]
        torch.testing.assert_close(parts[name] * masks.multipliers[name], masked, rtol=1e-9, atol=1e-12, msg=name)
        assert parts[name].stride() == dict(model.named_parameters())[name].stride()
    return live


def widths(model: nn.Module, live: LiveUnits) -> dict[str, tuple[int, ...]]:
    """Outputs and inputs of each layer that is called with a part of its weights."""
    matrices = {name: p for name, p in model.named_parameters() if p.dim() > 1}
    parts = {name: live.part(name, p) for name, p in matrices.items()}
    return {name: tuple(part.shape[:2]) for name, part in parts.items() if part is not matrices[name]}


@pytest.mark.parametrize("layout", [torch.channels_last, torch.contiguous_format])
@pytest.mark.parametrize("build", IMAGES)
def test_loss_and_gradients_are_those_of_the_whole_network(
    build: Callable[[], nn.Module], layout: torch.memory_format
) -> None:
    torch.manual_seed(1)
    model = build().to(dtype=DOUBLE, memory_format=layout)  # type: ignore[call-overload]
    images, labels = torch.randn(8, *IMAGES[build], dtype=DOUBLE), torch.randint(0, 10, (8,))
    live = check_equal(model, cut(model), lambda: F.cross_entropy(model(images), labels))
    assert widths(model, live), "nothing was left out"


def test_the_feed_forward_parts_of_a_transformer_shrink_and_nothing_else() -> None:
    model = tiny_bart(dropout=0.0).to(DOUBLE)
    tokens = torch.randint(4, 12, (3, 7))
    masks = cut(model)
    live = check_equal(model, masks, lambda: model(input_ids=tokens, decoder_input_ids=tokens).logits.square().mean())
    assert {name.split(".")[-2] for name in widths(model, live)} <= {"fc1", "fc2"} and widths(model, live)


@pytest.mark.parametrize(
    "build", [lambda: resnet32(width=8, blocks_per_stage=1), lambda: nn.Sequential(nn.Linear(2, 2))]
)
def test_behind_batch_normalisation_and_in_networks_that_nobody_knows_all_units_stay(
    build: Callable[[], nn.Module],
) -> None:
    model = build()
    assert live_units(model, cut(model)) is None


def test_units_that_dropout_draws_for_stay() -> None:
    named = []
    for dropout in (0.0, 0.5):
        model = small_vgg(dropout)
        masks = cut(model)
        masks.shrink({"classifier.0.weight": torch.arange(64)[:, None] < 8})
        live = live_units(model, masks)
        assert live is not None
        named.append({name.rpartition(".")[0] for name in widths(model, live)})
    features = {"features.0", "features.3", "features.5"}
    assert named == [features | {"classifier.0", "classifier.3"}, features]
    assert live_units(tiny_bart(activation_dropout=0.1), Masks({})) is None


def lenet_with(**units: int) -> tuple[LeNet5, Masks]:
    """LeNet-5 with so many units of each layer alive, the last ones, and masks of that."""
    model = LeNet5()
    kept = {name: torch.zeros_like(p, dtype=torch.bool) for name, p in model.named_parameters()}
    conv1, conv2, fc1 = (slice(-units[name], None) for name in ("conv1", "conv2", "fc1"))
    kept["conv1.weight"][conv1], kept["conv2.weight"][conv2, conv1] = True, True
    kept["fc1.weight"].view(500, 50, 16)[fc1, conv2], kept["fc2.weight"][:, fc1] = True, True
    masks = Masks(dict(model.named_parameters()))
    masks.shrink(kept)
    return model, masks


def test_widths_are_whole_vectors_and_linear_layers_are_gathered_once_that_pays() -> None:
    model, masks = lenet_with(conv1=9, conv2=17, fc1=28)
    live = live_units(model, masks)
    assert live is not None
    assert widths(model, live) == {
        "conv1.weight": (16, 1), "conv2.weight": (24, 16), "fc1.weight": (32, 24 * 16), "fc2.weight": (10, 32),
    }  # fmt: skip
    model, masks = lenet_with(conv1=20, conv2=41, fc1=400)
    live = live_units(model, masks)
    assert live is not None and widths(model, live) == {}
    kept = masks.kept
    kept["fc1.weight"][:440] = False
    masks.shrink(kept)
    assert widths(model, live) == {"conv2.weight": (48, 20), "fc1.weight": (64, 48 * 16), "fc2.weight": (10, 64)}


def test_what_is_cut_off_cuts_off_others_and_a_bias_alone_does_not() -> None:
    model, masks = lenet_with(conv1=20, conv2=50, fc1=500)
    kept = masks.kept
    kept["fc2.weight"][:, 8:] = False  # units 8 and on of fc1 are not heard,
    kept["fc1.weight"].view(500, 50, 16)[:8, 8:] = False  # and the maps 8 and on of conv2 by none but them
    kept["conv2.weight"][:, 8:] = False
    masks.shrink(kept)
    live = live_units(model, masks)
    assert live is not None
    assert [shape[0] for shape in widths(model, live).values()] == [8, 8, 8, 10]
    model, masks = lenet_with(conv1=20, conv2=50, fc1=8)
    masks.multipliers["fc1.bias"].fill_(1.0)
    masks.multipliers["fc2.weight"].fill_(1.0)
    live = live_units(model, masks)
    assert live is not None and widths(model, live) == {}


class Images(FakeBatches):
    """Learnable images for LeNet-5."""

    def batch(self, epoch: int, step: int) -> Batch:
        """Eight images whose class is the brightest of ten rows."""
        generator = torch.Generator().manual_seed(1000 * epoch + step)
        images = torch.randn(8, 1, 28, 28, generator=generator, dtype=DOUBLE)
        return images, images[:, 0, :10].sum(2).argmax(1)


def loss_of(model: nn.Module, batch: Batch) -> dict[str, Tensor]:
    """An evaluation on one batch."""
    return {"loss": Classification().forward(model, batch)[0].detach()}


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("kind", ["relevance", "magnitude"])
def test_training_is_that_of_the_whole_network_prune_by_prune(kind: str, optimizer: OptimizerSettings) -> None:
    ended = []
    for is_compact in (False, True):
        torch.manual_seed(3)
        model = LeNet5().to(dtype=DOUBLE, memory_format=torch.channels_last)  # type: ignore[call-overload]
        method = pruner(model, kind, fraction=0.8)
        live = live_units(model, method.masks) if is_compact else None
        metrics = partial(loss_of, model, Images().batch(9, 9))
        settings, added = phase(2, every=4, optimizer=optimizer), Extensions.of(method.parts)
        loop = Trainer(model, Classification(), Images(), metrics, settings, added, parts=live)
        losses = []
        for evaluation in loop.run():
            losses.append(evaluation.metrics["loss"])
            if evaluation.is_scheduled:
                method.prune()
        if live is not None:
            resumed = live_units(model, method.masks)
            assert resumed is not None and widths(model, resumed) == widths(model, live)
            assert "fc1.weight" in widths(model, live)
        ended.append((losses, [p.detach() for p in model.parameters()], method.masks.digest()))
    (losses, weights, masks), (losses_of_parts, weights_of_parts, masks_of_parts) = ended
    assert masks == masks_of_parts
    assert losses_of_parts == pytest.approx(losses, rel=1e-9)
    torch.testing.assert_close(weights_of_parts, weights, rtol=1e-6, atol=1e-9)


def test_the_users_word_decides_and_code_that_would_be_compiled_anew_is_left_whole(tmp_path: Path) -> None:
    def is_compact(**machine: Any) -> bool:
        settings = MachineSettings("cpu", "fp32", **machine)
        return Setup(tiny_experiment(tmp_path, machine=settings), torch.device("cpu"), tiny_data()).execution.compact

    assert is_compact() and not is_compact(compact=False)
    assert is_compact(compile="all") is False
    assert config.compose(["scale=smoke", "machine.compact=false"]).machine.compact is False
