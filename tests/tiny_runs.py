"""Runs that take a fraction of a second: the real pipeline on a network of 50 weights and 60 images of noise."""

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from sparsity import config, provenance
from sparsity.data.images.batches import ImageSplit
from sparsity.data.vision import ImageData
from sparsity.run import pipeline
from sparsity.run.experiment import Experiment
from sparsity.settings import (
    BaselineSettings,
    FinetuneSettings,
    GateSettings,
    MachineSettings,
    PaperSettings,
    PhaseSettings,
    ScheduleSettings,
    Settings,
    TrackingSettings,
)
from sparsity.training.tasks import Classification
from sparsity.weights.checkpoints import load_checkpoint
from tests.pruners import pruner

NUM_WEIGHTS = 50


class TinyNet(nn.Module):
    """4 x 4 images into 4 classes through 2 units, and a factor per class: 34 + 12 + 4 weights."""

    def __init__(self) -> None:
        super().__init__()
        self.fc1 = nn.Linear(16, 2)
        self.fc2 = nn.Linear(2, 4)
        self.scale = nn.Parameter(torch.ones(4))

    def forward(self, images: Tensor) -> Tensor:
        """Class scores."""
        scores: Tensor = self.fc2(torch.relu(self.fc1(images.flatten(1)))) * self.scale
        return scores


def tiny_data(source: str = "generated", data_dir: str = "data") -> ImageData:
    """Noise with a brighter half per class, so that something can be learnt: 40 / 20 / 20 images of 2 classes."""
    generator = torch.Generator().manual_seed(1)
    images = torch.randint(0, 128, (80, 1, 4, 4), dtype=torch.uint8, generator=generator)
    labels = torch.arange(80) % 2
    images[labels == 1, :, 2:] += 100
    parts = {"train": slice(0, 40), "val": slice(40, 60), "test": slice(60, 80)}
    splits = {name: ImageSplit(images[part], labels[part], f"tiny/{name}") for name, part in parts.items()}
    return ImageData("tiny", **splits, mean=(0.3,), std=(0.2,), num_classes=2, checksums={"images": "d41d8"})


def tiny_settings(results: Path, **changes: Any) -> Settings:
    """Four evaluations an epoch, two epochs; a prune of a fifth at each, as the bound is 0."""
    phase: dict[str, Any] = {"num_epochs": 2, "batch_size": 5, "evaluate_every_steps": 2}
    defaults: dict[str, Any] = {
        "experiment": "tiny",
        "model": {"_target_": "tests.tiny_runs.TinyNet"},
        "dataset": {"_target_": "tests.tiny_runs.tiny_data", "source": "generated"},
        "baseline": BaselineSettings(),
        "regularise": PhaseSettings(**phase),
        "finetune": FinetuneSettings(num_epochs=1, batch_size=5),
        "pruner": pruner("relevance", 1e-2),
        "schedule": ScheduleSettings(0.2),
        "gate": GateSettings(bound=0.0, target_sparsity=0.45, policy="printed"),
        "paper": PaperSettings(99.0, 0.45, 98.0, 2),
        "machine": MachineSettings(device="cpu", checkpoint_every_seconds=0.0),
        "tracking": TrackingSettings(mode="none"),
        "results_dir": str(results),
    }
    return Settings(**(defaults | changes))


def tiny_experiment(results: Path, **changes: Any) -> Experiment:
    """An experiment that `pipeline.run` takes; `changes` replace settings."""
    settings = tiny_settings(results, **changes)
    return Experiment(settings, TinyNet, tiny_data, Classification(), config.build_method(settings.pruner))


# The same network and data for the train script, with `scale=smoke`.
TINY_OVERRIDES = (
    "scale=smoke",
    "machine=cpu",
    "tracking=none",
    "model._target_=tests.tiny_runs.TinyNet",
    "~model.num_classes",
    "~model.conv_relu",
    "dataset._target_=tests.tiny_runs.tiny_data",
    "~dataset.normalise",
    "gate.bound=0",
    "schedule.fraction=0.5",
    *(f"{phase}.{key}" for phase in ("regularise", "finetune") for key in ("num_epochs=1", "batch_size=10")),
    "regularise.evaluate_every_steps=2",
)


@dataclass(frozen=True)
class TinyRun:
    """A finished run: where it stands and what it left there."""

    directory: Path

    @cached_property
    def summary(self) -> dict[str, Any]:
        """Its summary.json."""
        content: dict[str, Any] = json.loads((self.directory / "summary.json").read_text())
        return content

    @property
    def weights(self) -> dict[str, Tensor]:
        """Of the network at its end."""
        weights: dict[str, Tensor] = load_checkpoint(self.directory / "checkpoints/finetune/last/best.pt")["weights"]
        return weights

    def rows(self, kind: str) -> list[dict[str, Any]]:
        """The record's rows of one kind: `step` or `evaluation`."""
        lines = (self.directory / "metrics.jsonl").read_text().splitlines()
        return [row for row in map(json.loads, lines) if row["kind"] == kind]

    def curve(self, phase: str) -> list[dict[str, Any]]:
        """The points of curve.jsonl of one phase."""
        lines = (self.directory / "curve.jsonl").read_text().splitlines()
        return [point for point in map(json.loads, lines) if point["phase"] == phase]


def tiny_run(results: Path, **changes: Any) -> TinyRun:
    """Run a tiny experiment to its end."""
    experiment = tiny_experiment(results, **changes)
    pipeline.run(experiment)
    return TinyRun(provenance.run_directory(experiment.settings))
