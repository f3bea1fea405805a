"""What the settings may be: choices, ranges, and how they must fit each other; one sentence on the first that is not.

Free of torch and of Hydra, as the settings are.
"""

import math
import re
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

from sparsity.settings import SCALES, STARTS, PhaseSettings, Settings, final_sparsity, leaves

# Settings that are part of the name of a folder.
FOLDERS = ("experiment", "pruner.name", "sweep_name")
MOST_IN_A_NAME = 100

# What a textual setting may say, by its dotted path ("*" matches one level).
CHOICES: dict[str, tuple[str, ...]] = {
    "scale": SCALES,
    "baseline.source": ("train", "file", "published", "none"),
    "finetune.start_from": STARTS,
    "pruner.trigger": ("gate", "plateau", "restoring_plateau", "cubic", "one_shot", "threshold", "own"),
    "pruner.budget": ("global", "uniform", "erk", "column", "given"),
    "pruner.counted": ("all", "weights"),
    "pruner.penalty.irrelevance": ("exponential", "hyperbolic"),
    "pruner.penalty.decay": ("linear", "exponential", "none"),
    "gate.policy": ("printed", "fallback", "error"),
    "protocol.report": ("final_phase", "any_phase"),
    "machine.device": ("auto", "cpu", "cuda"),
    "machine.precision": ("auto", "fp32", "tf32", "bf16"),
    "machine.gpu_precision": ("fp32", "tf32", "bf16"),
    "machine.compile": ("auto", "none", "edits", "all"),
    "machine.memory_format": ("auto", "channels_last", "contiguous"),
    "tracking.mode": ("auto", "offline", "online", "none"),
    "*.optimizer.name": ("adam", "sgd"),
    "*.lr_schedule.name": ("constant", "step", "linear", "cosine", "plateau"),
}

MOST = 1_000_000_000  # of whatever is counted: beyond it no run ends, and nothing is meant by it

# Closed intervals; those of arguments hold for constructors of one's own too.
RANGES: dict[str, tuple[float, float]] = {
    "seed": (0, 2**63 - 1),
    "schedule.fraction": (1e-6, 1.0),  # at 0 the gate would open for prunes that remove nothing: pruner=dense says so
    "schedule.plateau_evaluations": (1, MOST),
    "schedule.loss_tolerance": (0.0, 1e6),
    "schedule.every_evaluations": (1, MOST),
    "schedule.begin": (0.0, 1.0),
    "schedule.end": (0.0, 1.0),
    "gate.bound": (-1.0, 100.0),  # -1: the gate always opens, even for a network that gets nothing right
    "gate.margin": (0.0, 100.0),
    "gate.target_sparsity": (0.0, 1.0),
    "gate.stop_at_sparsity": (0.0, 1.0),
    "gate.plateau_epochs": (10, MOST),
    "pruner.penalty.strength": (0.0, 1e30),
    "pruner.penalty.half_life_evaluations": (1e-9, 1e9),
    "pruner.penalty.alpha": (1e-30, 1e30),
    "pruner.layer_sparsities.*": (0.0, 1.0),
    "pruner.method.num_scoring_batches": (1, 1_000_000),
    "pruner.method.score_rate": (0.0, 1e30),
    "pruner.method.score_penalty": (0.0, 1e30),
    "pruner.method.threshold": (0.0, 1.0),
    "pruner.method.least_kept": (0.0, 1.0),
    "pruner.method.population_size": (4, 10_000),
    "pruner.method.mutation": (0.0, 1.0),
    "pruner.method.crossover": (0.0, 1.0),
    "pruner.method.initial_share": (0.0, 1.0),
    "pruner.method.num_components": (2, 1000),
    "pruner.method.zero_share": (1e-6, 1 - 1e-6),
    "pruner.method.tau": (0.0, 1e30),
    "pruner.method.extent": (0.0, 1e30),
    "pruner.method.deviation": (1e-9, 1e9),
    "pruner.method.mean_rate": (0.0, 1e30),
    "pruner.method.precision_rate": (0.0, 1e30),
    "pruner.method.share_rate": (0.0, 1e30),
    "pruner.method.merging_divergence": (0.0, 1e30),
    "pruner.method.initial_drop": (1e-6, 1 - 1e-6),
    "pruner.method.l0_lambda": (0.0, 1e30),
    "pruner.method.weight_decay": (0.0, 1e30),
    "pruner.method.kl_weight": (0.0, 1e30),
    "pruner.method.rise_begin": (0.0, 1.0),
    "pruner.method.rise_end": (0.0, 1.0),
    "pruner.method.gate_rate": (0.0, 1e30),
    "pruner.method.variance_rate": (0.0, 1e30),
    "paper.metric": (0.0, 100.0),
    "paper.baseline": (0.0, 100.0),
    "paper.sparsity": (0.0, 1.0),
    "machine.num_threads": (1, 1024),
    "machine.num_workers": (0, 1024),
    "machine.checkpoint_every_seconds": (0.0, 1e9),
    "tracking.every_steps": (1, MOST),
    "tracking.limit_seconds": (1.0, 1e9),
    "protocol.baseline_evaluate_every_steps": (1, MOST),
    "model.num_classes": (2, 100_000),
    "model.width": (1, 100_000),
    "model.ffn_width": (1, 100_000),
    "model.classifier_width": (1, 100_000),
    "model.num_heads": (1, 1000),
    "model.num_layers": (1, 1000),
    "model.blocks_per_stage": (1, 1000),
    "model.vocabulary_size": (16, 65_536),  # token ids are kept in 16 bits
    "dataset.vocabulary_size": (16, 65_536),
    "dataset.max_tokens": (4, 1022),  # with the two at the ends as many as the Transformer has positions
    "dataset.length_multiple": (1, 1024),
    "dataset.image_size": (1, 4096),
    "dataset.min_area": (1e-6, 1.0),
    "dataset.max_damaged": (0, MOST),
    "task.num_beams": (1, 1000),
    "task.length_penalty": (-100.0, 100.0),
    "task.max_length": (2, 1024),
    "task.num_sentences": (1, MOST),
    "task.chunk_tokens": (1, MOST),
    "*.num_epochs": (0, 1_000_000),
    "*.max_steps": (1, MOST),
    "*.batch_size": (1, MOST),
    "*.micro_batches": (1, MOST),
    "*.evaluate_every_steps": (1, MOST),
    "*.optimizer.lr": (0.0, 1e30),
    "*.optimizer.eps": (1e-30, 1.0),  # a pruned weight's moments are 0, and so would be what they are divided by
    "*.optimizer.weight_decay": (0.0, 1.0),
    "*.lr_schedule.step_factor": (0.0, 100.0),
    "*.lr_schedule.final_factor": (0.0, 1.0),
    "*.lr_schedule.patience": (0, MOST),
    "*.lr_schedule.cooldown": (0, MOST),
}

# Shares that are never the whole.
BELOW_ONE = ("*.optimizer.momentum", "*.optimizer.betas", "model.dropout", "task.label_smoothing")
MOST_MILESTONES = 100
MOST_DIGITS = 24  # of a number in a sentence


def check(settings: Settings) -> None:
    """Hold every setting to its range and its choices.

    Raises:
        ValueError: naming the first setting outside, what was got and what is allowed.
    """
    values = dict(leaves(settings))
    for path, value in values.items():
        _check_choice(path, value)
        for place, number in _numbers(path, value):
            _check_number(place, number)
    if settings.baseline.source == "file" and not settings.baseline.path:
        raise ValueError(
            "baseline.path is missing: baseline=file needs the path of a checkpoint, e.g. baseline.path=model.pt."
        )
    if settings.baseline.source == "train" and settings.baseline.num_epochs == 0:
        raise ValueError("baseline.num_epochs=0 trains no baseline: give at least 1, or take baseline=none.")
    for path in FOLDERS:
        check_folder_name(path, values[path])
    _check_starts(settings.finetune.start_from)
    _check_schedule(settings)
    for name in ("baseline", "regularise", "finetune"):
        _check_micro_batches(name, getattr(settings, name))
        _check_optimizer(name, getattr(settings, name))
    _check_texts(settings)


def check_folder_name(path: str, name: str) -> None:
    """Hold a name that becomes a folder of `results_dir` to stay in it.

    Raises:
        ValueError: if it does not, or is longer than a file system takes with what else stands in the folder's name.
    """
    if not re.fullmatch(rf"[\w.-]{{0,{MOST_IN_A_NAME - 1}}}\w", name, re.ASCII):
        raise ValueError(
            f"{path}={name} names a folder: give letters, digits, dots and hyphens only, at most {MOST_IN_A_NAME}, and "
            "no dot or hyphen at the end."
        )


def _check_micro_batches(name: str, phase: PhaseSettings) -> None:
    if phase.batch_size % phase.micro_batches:
        raise ValueError(
            f"{name}.micro_batches={phase.micro_batches} does not divide {name}.batch_size={phase.batch_size}; "
            "choose a divisor."
        )


def _check_optimizer(name: str, phase: PhaseSettings) -> None:
    """Hold the two lists of a phase to what they are lists of."""
    betas, milestones = phase.optimizer.betas, phase.lr_schedule.milestones
    if len(betas) != 2:
        raise ValueError(
            f"{name}.optimizer.betas=[{_listed(betas)}] must be two numbers, each at least 0 and below 1: write e.g. "
            "[0.9,0.999]."
        )
    is_ordered = all(before < after for before, after in pairwise([-1e-9, *milestones, 1 + 1e-9]))
    if not is_ordered or len(milestones) > MOST_MILESTONES:
        raise ValueError(
            f"{name}.lr_schedule.milestones=[{_listed(milestones)}] must be at most {MOST_MILESTONES} fractions of the "
            "phase, between 0 and 1 and each above the one before: write e.g. [0.5,0.75]."
        )


def _listed(numbers: list[float]) -> str:
    return ",".join(f"{number:g}" for number in numbers)


def _check_texts(settings: Settings) -> None:
    """Hold the ids of a text to be those that the network knows, and widths to be a list of them."""
    known, used = settings.model.get("vocabulary_size"), settings.dataset.get("vocabulary_size")
    if isinstance(known, int) and isinstance(used, int) and used > known:
        raise ValueError(
            f"dataset.vocabulary_size={used} is more than the {known} tokens that the network knows: set "
            "model.vocabulary_size alone, which the data then follow."
        )
    widths = settings.dataset.get("widths", [])
    is_list = isinstance(widths, list) and all(isinstance(width, int) and width > 0 for width in widths)
    if not is_list or any(before >= after for before, after in pairwise(widths)):
        raise ValueError(
            f"dataset.widths={widths} must be whole numbers above 0, each above the one before: write e.g. [32,64,128]."
        )


def _check_schedule(settings: Settings) -> None:
    """Hold a schedule that knows where it ends to be told so."""
    pruner, schedule = settings.pruner, settings.schedule
    if not pruner.prunes or "plateau" in pruner.trigger or pruner.trigger == "gate":
        return
    if pruner.trigger in ("cubic", "one_shot") and final_sparsity(settings) is None:
        raise ValueError(
            f"pruner.trigger={pruner.trigger} prunes to a sparsity that is not given: set gate.target_sparsity, "
            "e.g. gate.target_sparsity=0.9."
        )
    if schedule.begin >= schedule.end:
        raise ValueError(
            f"schedule.begin={schedule.begin:g} must lie before schedule.end={schedule.end:g}: both are fractions of "
            "the phase."
        )


def _check_starts(starts: list[str]) -> None:
    if not starts:
        raise ValueError(f"finetune.start_from=[] is empty; name at least one of {', '.join(STARTS)}.")
    twice = [start for start in starts if starts.count(start) > 1]
    if twice:
        raise ValueError(f"finetune.start_from=[{','.join(starts)}] names {twice[0]} twice; name each start once.")


def _rule(rules: Any, path: str) -> Any:
    """The first of the patterns of `rules` that is the path's: a star stands for one level."""
    patterns = (path, "*." + path.partition(".")[2], ".".join(path.split(".")[:2]) + ".*")
    return next((pattern for pattern in patterns if pattern in rules), None)


def _check_choice(path: str, value: Any) -> None:
    allowed = CHOICES.get(_rule(CHOICES, path))
    for word in value if isinstance(value, list) else [value]:
        if allowed and word not in allowed:
            raise ValueError(f"{path}={word} is unknown; choose one of {', '.join(allowed)}.")


def _numbers(path: str, value: Any) -> Iterator[tuple[str, float]]:
    """Each number in a value, whether of a list or of a dictionary, with its dotted path."""
    if isinstance(value, dict):
        for key, of in value.items():
            yield from _numbers(f"{path}.{key}", of)
    elif isinstance(value, (list, tuple)):
        for of in value:
            yield from _numbers(path, of)
    elif isinstance(value, (int, float)) and not isinstance(value, bool):
        yield path, value


def _check_number(path: str, value: float) -> None:
    low, high = RANGES.get(_rule(RANGES, path), (None, None))
    if low is not None and high is not None and not low <= value <= high:
        raise ValueError(f"{path}={_said(value)} is out of range; it must be between {_said(low)} and {_said(high)}.")
    if _rule(BELOW_ONE, path) and not 0 <= value < 1:
        raise ValueError(f"{path}={_said(value)} is out of range; it must be at least 0 and below 1.")
    if not math.isfinite(value):
        raise ValueError(f"{path}={_said(value)} is no number to compute with; give a finite one.")


def _said(number: float) -> str:
    """A number as a user would type it, an endless one cut."""
    text = f"{number:g}" if isinstance(number, float) else str(number)
    return text if len(text) <= MOST_DIGITS else f"{text[:MOST_DIGITS]}..."
