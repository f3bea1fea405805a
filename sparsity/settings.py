"""The typed settings of every room.

Free of torch and of Hydra: the planner, the status page and the schema of `conf/` read these classes in milliseconds.
A default stands here once; a YAML file holds only what differs from it.
"""

from dataclasses import dataclass, field, fields, is_dataclass, replace
from typing import Any

SCALES = ("paper", "rehearsal", "smoke")
STARTS = ("paper_sparsity", "last")

# The keys of the protocol that builders of data and tasks ask for.
DATA_KEYS = (
    *("test_set_gates", "train_on_all", "padding_counts", "bos_twice", "two_vocabularies", "speakers_by_position"),
    "international_bleu",
)


@dataclass
class OptimizerSettings:
    """The ordinary optimiser of a phase; its weight decay is torch's own and independent of the penalty."""

    name: str = "adam"
    lr: float = 1e-3
    betas: list[float] = field(default_factory=lambda: [0.9, 0.999])
    eps: float = 1e-8
    momentum: float = 0.0
    weight_decay: float = 0.0


@dataclass
class LrScheduleSettings:
    """Factor on `optimizer.lr`: constant, multiplied at milestones (fractions of the phase), linear or cosine.

    patience, cooldown: of a plateau's, multiplied by `step_factor` when the validation loss has not fallen for more
    evaluations than the first, which are counted again after as many as the second.
    """

    name: str = "constant"
    milestones: list[float] = field(default_factory=list)
    step_factor: float = 0.1
    final_factor: float = 0.0
    patience: int = 10
    cooldown: int = 50


@dataclass
class PhaseSettings:
    """One stretch of training; without `evaluate_every_steps` it is evaluated at the end of each epoch.

    A step, the unit of all `_steps`, is one update: it takes `batch_size` examples, in `micro_batches` equal parts
    whose gradients are accumulated.
    """

    num_epochs: int = 0
    batch_size: int = 100
    micro_batches: int = 1
    evaluate_every_steps: int | None = None
    max_steps: int | None = None
    optimizer: OptimizerSettings = field(default_factory=OptimizerSettings)
    lr_schedule: LrScheduleSettings = field(default_factory=LrScheduleSettings)


@dataclass
class BaselineSettings(PhaseSettings):
    """Where the dense starting point comes from. `path` names the file of `source: file`."""

    source: str = "none"
    path: str | None = None
    allow_contaminated: bool = False


@dataclass
class FinetuneSettings(PhaseSettings):
    """The final phase without penalty, one run of it from each state that `start_from` names."""

    start_from: list[str] = field(default_factory=lambda: list(STARTS))


@dataclass
class PenaltySettings:
    """The pull towards zero: lambda is `strength`, alpha scales the gradient inside the irrelevance (eq. 4).

    irrelevance, scale_free: its form, in the relevance penalty and in the log of every method. decoupled: the pull
    moves the weights itself instead of going through the optimiser. is_weight_decay: it is of at most 2 lambda w, which
    is what the plan's bound on the shrinkage asks. is_control: a protocol may hold its lambda constant.
    """

    strength: float = 0.0
    alpha: float = 1.0
    irrelevance: str = "exponential"
    scale_free: bool = False
    decoupled: bool = False
    decay: str = "linear"
    half_life_evaluations: float = 1.0
    is_weight_decay: bool = False
    is_control: bool = False


@dataclass
class PrunerSettings:
    """Which method, whether weights are removed at all, what lets them go, and where.

    method: a class of `sparsity/pruning/methods` or one's own, `_target_` and its knobs (EXTENDING.md). trigger: the
    gate on the validation metric (the paper), a plateau of the validation loss (LOBSTER; a restoring one as its authors
    run it), a cubic schedule, one shot before the first step, thresholds of the method, or its own: a method that says
    by itself which weights are there. budget: how the removed weights spread over tensors; `layer_sparsities` are the
    given ones. counted: all parameters, or weights without biases and norms, which then are never pruned. score: what
    says which weights go first, not the method: a `_target_` and its arguments.
    """

    name: str = "dense"
    prunes: bool = False
    method: dict[str, Any] = field(default_factory=lambda: {"_target_": "sparsity.pruning.methods.dense.Dense"})
    penalty: PenaltySettings = field(default_factory=PenaltySettings)
    trigger: str = "gate"
    budget: str = "global"
    layer_sparsities: dict[str, float] = field(default_factory=dict)
    counted: str = "all"
    score: dict[str, Any] = field(default_factory=dict)


@dataclass
class ScheduleSettings:
    """How many weights one prune removes.

    fraction: of those that remain, behind the gate. plateau_evaluations, loss_tolerance: at a plateau, after so many
    evaluations without a better validation loss (LOBSTER's PWE), as many as keep it within (1 + tolerance) of its best
    (its TWT). every_evaluations: of those at which weights below their thresholds go, each so many-th. begin, end: of
    the cubic schedule, of thresholds and of a method's own, as fractions of the phase; at a cubic one's end, and after
    one shot, the sparsity is `gate.stop_at_sparsity`, or else `gate.target_sparsity`, or else the paper's.
    """

    fraction: float = 0.04
    plateau_evaluations: int = 20
    loss_tolerance: float = 0.05
    every_evaluations: int = 1
    begin: float = 0.0
    end: float = 0.75


@dataclass
class GateSettings:
    """When a prune is allowed: validation metric strictly above `bound`, in the metric's unit (percent, BLEU).

    The state that first reaches `target_sparsity` (the paper's) is kept for the final phase.
    """

    bound: float = 0.0
    target_sparsity: float | None = None
    policy: str = "fallback"
    margin: float = 0.3
    stop_at_sparsity: float | None = None
    plateau_epochs: int | None = None


@dataclass
class ProtocolSettings:
    """The flaws of the authors' protocol, one key each; the defaults are sound (results/deviations.md)."""

    test_set_gates: bool = False  # all of MNIST's, the first 5,000 of ImageNet's
    train_on_all: bool = False  # nothing of MNIST's training images is held out
    padding_counts: bool = False  # in the loss, up to the longest target of a batch
    bos_twice: bool = False  # a target starts with two, and a search is forced to the second
    two_vocabularies: bool = False  # of WMT14: one a language, over one embedding
    speakers_by_position: bool = False  # of Taskmaster-1: every first turn is the user's
    international_bleu: bool = False  # tensor2tensor's tokenisation is that of `bleu`
    start_before_cut: bool = False  # a final phase starts from a state as an evaluation found it, before its own cut
    report: str = "final_phase"  # any_phase adds the best validation metric over all phases and sparsities
    count_before_use: bool = False  # the first step after a prune has lambda decayed by one step
    constant_lambda_of_controls: bool = False  # that of penalties that are controls never decays
    count_tied_as_listed: bool = False  # a prune's fraction is of all names of the weights
    cosine_per_micro_batch: bool = False  # a step has the rate of its last micro-batch
    baseline_evaluate_every_steps: int | None = None  # within the epochs of the baseline, not at their ends


@dataclass
class PaperSettings:
    """The paper's row: metric in its own unit, sparsity in [0, 1], epochs of the regularised phase.

    needs_gpu: whether its scale takes days on a CPU. controls: pruners that are run beside relevance.
    """

    metric: float | None = None
    sparsity: float | None = None
    baseline: float | None = None
    num_epochs: int | None = None
    needs_gpu: bool = False
    controls: list[str] = field(default_factory=lambda: ["l2", "magnitude"])


@dataclass
class MachineSettings:
    """Where and how fast; never part of a run's identity.

    precision: of products, fp32, tf32 (tensor cores on fp32 data) or bf16 (autocast); weights and their gradients are
    always fp32. auto is gpu_precision, which the model names, on a GPU of compute capability 8 or more, else fp32; a
    resumed run keeps its own. compile: what torch.compile fuses, none, edits (of gradients: penalty and masks, on a CPU
    only) or all (the network too); auto is edits on a CPU, else none. memory_format: of images and convolutions; auto
    is channels_last on a CPU and in bf16, else contiguous. capture: replay steps as CUDA graphs where the data lies on
    the GPU. compact: compute without units that pruning has cut off, on a CPU, where that changes rounding alone.
    num_workers: readers of data that does not lie on the GPU, threads or, if more than three, processes; 0 is one per
    core that this process may use.
    """

    device: str = "auto"
    precision: str = "auto"
    gpu_precision: str = "tf32"
    compile: str = "none"
    memory_format: str = "auto"
    capture: bool = True
    compact: bool = True
    num_threads: int | None = None
    num_workers: int = 0
    checkpoint_every_seconds: float = 30.0


@dataclass
class TrackingSettings:
    """The mirror of the record: online with a W&B login, else offline; never part of a run's identity.

    limit_seconds: how long one request of W&B may take, and how long the end of a run waits for W&B in all.
    """

    mode: str = "auto"
    project: str = "sparsity"
    entity: str | None = None
    every_steps: int = 1
    limit_seconds: float = 60.0


@dataclass
class Settings:
    """Everything one run depends on. `model`, `dataset` and `task` name a callable (`_target_`) and its arguments.

    measure_sizes: whether the summary says how large the dense and the pruned network are on disk, also compressed: a
    second for LeNet-5, minutes for VGG-16.
    """

    experiment: str = "unnamed"
    scale: str = "paper"
    seed: int = 0
    metric: str = "accuracy"
    model: dict[str, Any] = field(default_factory=dict)
    dataset: dict[str, Any] = field(default_factory=dict)
    task: dict[str, Any] = field(default_factory=lambda: {"_target_": "sparsity.training.tasks.Classification"})
    baseline: BaselineSettings = field(default_factory=BaselineSettings)
    regularise: PhaseSettings = field(default_factory=PhaseSettings)
    finetune: FinetuneSettings = field(default_factory=FinetuneSettings)
    pruner: PrunerSettings = field(default_factory=PrunerSettings)
    schedule: ScheduleSettings = field(default_factory=ScheduleSettings)
    gate: GateSettings = field(default_factory=GateSettings)
    protocol: ProtocolSettings = field(default_factory=ProtocolSettings)
    paper: PaperSettings = field(default_factory=PaperSettings)
    machine: MachineSettings = field(default_factory=MachineSettings)
    tracking: TrackingSettings = field(default_factory=TrackingSettings)
    data_dir: str = "data"
    results_dir: str = "results"
    measure_sizes: bool = True
    sweep_name: str = "unnamed"
    force: bool = False

    @property
    def baseline_phase(self) -> PhaseSettings:
        """How the baseline is trained, and evaluated as the protocol says."""
        every = self.protocol.baseline_evaluate_every_steps
        return self.baseline if every is None else replace(self.baseline, evaluate_every_steps=every)

    @property
    def departures(self) -> list[str]:
        """The keys of the protocol that are not sound, by their dotted paths: such a run is marked."""
        keys = zip(leaves(self.protocol, "protocol."), leaves(ProtocolSettings()), strict=True)
        departed = [path for (path, value), (_, sound) in keys if value != sound]
        return departed + (["gate.policy"] if self.gate.policy == "printed" else [])

    @property
    def protocol_name(self) -> str:
        """sound, authors (all keys are theirs) or mixed: what records say, and nothing asks for."""
        num_departed, num_keys = len(self.departures), len(fields(self.protocol)) + 1
        return "sound" if num_departed == 0 else "authors" if num_departed == num_keys else "mixed"

    @property
    def is_shortened(self) -> bool:
        """Whether the regularised phase is cut below the paper's length, so that its numbers are no reproduction."""
        phases = (self.baseline, self.regularise, self.finetune)
        full = self.paper.num_epochs or 0
        cut = any(phase.max_steps for phase in phases) or self.gate.stop_at_sparsity is not None
        return cut or self.regularise.num_epochs < full


def final_sparsity(settings: Settings) -> float | None:
    """Where a schedule that is no gate ends: the sparsity to stop at, the one to compare at, or else the paper's."""
    asked = (settings.gate.stop_at_sparsity, settings.gate.target_sparsity, settings.paper.sparsity)
    return next((sparsity for sparsity in asked if sparsity is not None), None)


def leaves(node: Any, prefix: str = "") -> list[tuple[str, Any]]:
    """All (dotted path, value) pairs of a tree of dataclasses, in declaration order; dicts and lists are leaves."""
    pairs: list[tuple[str, Any]] = []
    for entry in fields(node):
        path, value = f"{prefix}{entry.name}", getattr(node, entry.name)
        pairs += leaves(value, f"{path}.") if is_dataclass(value) else [(path, value)]
    return pairs


def leaf_name(node: dict[str, Any]) -> str:
    """The last word of a `_target_`: which network, which data set."""
    return str(node["_target_"]).rpartition(".")[2]
