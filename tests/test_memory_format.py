"""How do images and the weights of convolutions lie in memory? In one layout throughout, which changes no result."""

from pathlib import Path

import pytest
import torch
from torch import Tensor

from sparsity import config
from sparsity.run.experiment import Setup, on_machine
from sparsity.settings import Settings

CPU, META = torch.device("cpu"), torch.device("meta")


def setup(tmp_path: Path, device: torch.device = CPU, **machine: str) -> Setup:
    experiment, _ = on_machine(config.build(settings(tmp_path, **machine)))
    return Setup(experiment, device, experiment.load(device))


def settings(tmp_path: Path, **machine: str) -> Settings:
    overrides = [f"machine.{name}={value}" for name, value in machine.items()]
    return config.compose(["experiment=resnet32_cifar10", "scale=smoke", f"results_dir={tmp_path}", *overrides])


def outputs_of_convolutions(work: Setup) -> list[Tensor]:
    """What each convolution says to the first batch of validation images."""
    seen: list[Tensor] = []
    model = work.new_model().eval()
    for module in model.modules():
        if isinstance(module, torch.nn.Conv2d):
            module.register_forward_hook(lambda _, inputs, output: seen.append(output.detach()))
    images, _ = next(iter(work.data.evaluation_batches(work.data.val)))
    model(images)
    return seen


@pytest.mark.parametrize(
    ("device", "precision", "is_last"),
    [(CPU, "fp32", True), (CPU, "bf16", True), (META, "bf16", True), (META, "tf32", False), (META, "fp32", False)],
)
def test_auto_is_channels_last_where_that_is_faster(
    tmp_path: Path, device: torch.device, precision: str, is_last: bool
) -> None:
    weight = next(setup(tmp_path, device, precision=precision).new_model().parameters())
    assert weight.is_contiguous(memory_format=torch.channels_last) == is_last
    assert weight.is_contiguous() != is_last


@pytest.mark.parametrize("name", ["channels_last", "contiguous"])
def test_a_network_keeps_its_layout_from_the_images_on(tmp_path: Path, name: str) -> None:
    layout = torch.channels_last if name == "channels_last" else torch.contiguous_format
    outputs = outputs_of_convolutions(setup(tmp_path, memory_format=name))
    assert len(outputs) > 1 and all(output.is_contiguous(memory_format=layout) for output in outputs)


def test_the_layout_changes_rounding_alone(tmp_path: Path) -> None:
    ours, theirs = (
        outputs_of_convolutions(setup(tmp_path, memory_format=name)) for name in ("channels_last", "contiguous")
    )
    torch.testing.assert_close(ours, theirs)
