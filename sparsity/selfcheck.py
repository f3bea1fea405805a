"""The checks of a GPU: it computes what a run needs, and with CUDA graphs the same as without.

    python -m sparsity.selfcheck [--experiments lenet5_mnist,...]

checks the network of each experiment of the paper in a process of its own, on generated data. A run that opens on a GPU
asks `sparsity.hardware.gpu` for its own network, which starts the same checks and remembers what they found.
"""

import argparse
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
import yaml
from torch import Tensor
from torch.utils._pytree import keystr, tree_flatten_with_path, tree_map_only

from sparsity import config
from sparsity.hardware import driver, gpu
from sparsity.run.experiment import Experiment, on_machine
from sparsity.run.manifest import Manifest
from sparsity.run.phase import Phase, put_into
from sparsity.run.plan import make_plan
from sparsity.run.workspace import Workspace
from sparsity.settings import Settings
from sparsity.tracking.record import JsonlWriter
from sparsity.tracking.writers import Mirrors
from sparsity.training.execution import NUM_EAGER_CALLS
from sparsity.training.loop import NonFiniteLossError
from sparsity.training.translation import Translation
from sparsity.weights.checkpoints import load_checkpoint, save_checkpoint

State = dict[str, Any]

WARM_UP = (
    *[False] * NUM_EAGER_CALLS,
    *[True] * NUM_EAGER_CALLS,
)  # steps, each observed or not, until both are captured
FOUR = (False, False, False, True)
PRUNED = 0.1  # of the weights, between two times four steps
NEVER = -1e4  # a score that no token has
NO_EPOCHS_END = 1_000_000  # whatever the scale: the rate of the last step of a phase is 0
LAYOUTS = (torch.contiguous_format, torch.channels_last)  # of a GPU and of a CPU


def check(experiment: Experiment, device: torch.device, eagerly: bool) -> None:
    """Run every check on one experiment and name each on stdout before it begins.

    Args:
        experiment: network, data and method.
        device: where.
        eagerly: without CUDA graphs, as if `machine.capture=false` were set.

    Raises:
        ValueError: naming the first check that failed, and why.
    """
    with checking("a kernel runs"):
        run_a_kernel(device)
    with tempfile.TemporaryDirectory() as folder, checking("the network and generated data fit"):
        work = workspace(experiment, device, Path(folder))
    plain = without_graphs(work)
    used = plain if eagerly else work
    with checking("eight steps with a prune give the same bits twice"):
        expected, phase = eight_steps(begun(plain)), begun(plain)
        hold(eight_steps(phase), expected)
    if not eagerly:
        with checking("eight captured steps with a prune give the bits of eager ones"):
            phase = begun(work)
            hold(eight_steps(phase), expected)
    with checking("an evaluation gives what it gave eagerly, before and after a change of weights"):
        evaluate_twice(used, phase)
    with checking("a run that was saved goes on with the same bits, whatever layout its file has"):
        resume(used, phase)
    with checking("a batch of the beam search fits in which no sentence ends"):
        search_to_the_end(used, phase)
    with checking("a loss that is not a number stops every update"):
        stop_at_nan(phase)


@contextmanager
def checking(sentence: str) -> Iterator[None]:
    """Name a check; whatever goes wrong in it is a ValueError that begins with its sentence."""
    print(sentence, flush=True)
    try:
        yield
    except Exception as error:  # a GPU fails in many ways, and each is an answer
        lines = str(error).strip().splitlines() or [""]
        raise ValueError(f'the check "{sentence}" failed ({type(error).__name__}: {lines[0].rstrip(".")})') from error


def workspace(experiment: Experiment, device: torch.device, directory: Path) -> Workspace:
    """What a run would hold, without a run directory."""
    settings = experiment.settings
    regularise = replace(settings.regularise, num_epochs=NO_EPOCHS_END, max_steps=None)
    experiment = replace(experiment, settings=replace(settings, regularise=regularise))
    data = experiment.load(device)
    log = JsonlWriter(directory / "metrics.jsonl", settings.tracking.every_steps)
    log.finish(0)
    plan = make_plan(settings, len(data.train))
    return Workspace(experiment, device, data, directory, {}, Manifest(directory, "", ""), {}, plan, log, Mirrors())


def without_graphs(work: Workspace) -> Workspace:
    """The same, executed eagerly."""
    settings = work.settings
    eager = replace(settings, machine=replace(settings.machine, capture=False))
    return replace(work, experiment=replace(work.experiment, settings=eager))


def run_a_kernel(device: torch.device) -> None:
    """One product, and its value on the host."""
    ones = torch.ones(64, 64, device=device)
    if float((ones @ ones).sum()) != 64**3:
        raise ArithmeticError(f"64 x 64 ones times themselves sum up to {float((ones @ ones).sum())}, not {64**3}")


def begun(work: Workspace) -> Phase:
    """The regularised phase at its start."""
    phase = work.phase("regularise", work.settings.regularise, 0, is_regularised=True)
    phase.model.train()
    return phase


def eight_steps(phase: Phase) -> State:
    """Steps until all is captured, then eight, two of them observed, with a prune between, which restarts lambda."""
    advance(phase, WARM_UP)
    rows = advance(phase, FOUR)
    phase.pruner.prune(max(1, int(PRUNED * phase.pruner.num_kept)))
    return standing(phase) | {"rows": rows + advance(phase, FOUR)}


def advance(phase: Phase, observed: Sequence[bool]) -> list[dict[str, float]]:
    """Make some steps, each observed or not; the rows that they left on the record."""
    for observe in observed:
        phase.trainer.train_step(observe)
    return phase.trainer.drain()


def standing(phase: Phase) -> State:
    """All that the next step depends on and what the last observed one saw, as copies that take no memory of a GPU."""
    trainer = {name: value for name, value in phase.trainer.state_dict().items() if name != "generators"}
    state = {"weights": phase.model.state_dict(), "masks": phase.pruner.masks.state_dict(), "trainer": trainer}
    copies: State = tree_map_only(Tensor, lambda tensor: tensor.detach().to("cpu", copy=True), state)
    return copies | {"observed": phase.pruner.observed()}


def hold(ours: State, theirs: State) -> None:
    """Raises ArithmeticError naming the first value that is not the same, bit for bit."""
    pairs = zip(leaves(ours), leaves(theirs), strict=True)
    for (name, value), (other_name, other) in pairs:
        if name != other_name or not is_same(value, other):
            raise ArithmeticError(f"{name.strip('[]').replace('][', ' ')} differs")


def leaves(state: State) -> list[tuple[str, Any]]:
    """(name, value) of all that a state holds."""
    return [(keystr(path).replace("'", ""), value) for path, value in tree_flatten_with_path(state)[0]]


def is_same(ours: Any, theirs: Any) -> bool:
    """Whether two values have the same bits; a NaN is one."""
    if not isinstance(ours, Tensor):
        return bool(ours == theirs or (ours != ours and theirs != theirs))
    return torch.equal(*(value.detach().flatten().view(torch.uint8) for value in (ours, theirs)))


@torch.no_grad()
def evaluate_twice(work: Workspace, phase: Phase) -> None:
    """Compare evaluations with eager ones until they are replayed, then once more with half the weights."""
    if not phase.trainer.batches.is_resident:
        return  # such an evaluation is never captured
    evaluate = work.evaluator(phase.model, work.data.val, is_resident=True)
    for weight in (1.0, 0.5):
        for parameter in phase.trainer.parameters:
            parameter.mul_(weight)
        wanted = {name: float(value) for name, value in work.evaluate(phase.model, work.data.val).items()}
        for _ in range(3):  # an eager one, the capture and a replay
            hold({name: float(value) for name, value in evaluate().items()}, wanted)


def resume(work: Workspace, phase: Phase) -> None:
    """Save, go on, and compare with phases that begin from the file, as it is and in each memory layout."""
    masks, trainer = phase.pruner.masks.state_dict(), phase.trainer.state_dict()
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "last.pt"
        save_checkpoint(file, {"weights": phase.model.state_dict(), "masks": masks, "trainer": trainer})
        advance(phase, FOUR)
        expected = standing(phase)
        for layout in (None, *LAYOUTS):
            hold(resumed(work, laid_out(load_checkpoint(file), layout)), expected)


def resumed(work: Workspace, saved: State) -> State:
    """What four more steps from a saved state come to; their phase is gone before the next one is made."""
    phase = begun(work)
    put_into(phase.model, phase.pruner, saved)
    phase.trainer.load_state_dict(saved["trainer"])
    advance(phase, FOUR)
    return standing(phase)


def laid_out(state: State, layout: torch.memory_format | None) -> State:
    """The same values with images and convolutions in a memory layout."""

    def lay(tensor: Tensor) -> Tensor:
        return tensor.contiguous(memory_format=layout) if layout is not None and tensor.dim() == 4 else tensor

    laid: State = tree_map_only(Tensor, lay, state)
    return laid


@torch.no_grad()
def search_to_the_end(work: Workspace, phase: Phase) -> None:
    """Generate for the largest batch of the test split, as a network that ends no sentence would."""
    task: Any = work.experiment.task
    model: Any = phase.model
    if not isinstance(task, Translation):
        return
    text = work.data.evaluation_batches(work.data.test)
    largest = max((places.tolist() for places, *_ in text), key=len)
    bias = model.final_logits_bias[:, text.eos_id]  # type: ignore[attr-defined]
    before = bias.clone()
    model.eval()
    bias.fill_(NEVER)
    with work.execution.precision(work.device):
        task.generate(model, text, largest)  # type: ignore[arg-type]
    bias.copy_(before)
    model.train()


def stop_at_nan(phase: Phase) -> None:
    """Make the weights of one parameter NaN: a step must move no other, and be named when the record is read."""
    poisoned, *others = phase.trainer.parameters
    with torch.no_grad():
        poisoned.fill_(torch.nan)
    before = [other.detach().clone() for other in others]
    try:
        advance(phase, (False, True))
    except NonFiniteLossError:
        hold({"weight": list(others)}, {"weight": before})
        return
    raise ArithmeticError("training went on")


def generated(settings: Settings) -> Settings:
    """The same run on data that need no fetching, if it is one of ours."""
    dataset = settings.dataset
    is_ours = "source" in dataset and str(dataset.get("_target_", "")).startswith("sparsity.data.")
    return replace(settings, dataset={**dataset, "source": "generated"}) if is_ours else settings


def check_run(directory: Path, eagerly: bool) -> None:
    """Check what the run in `directory` will be made of, as the process that opened it has just written down."""
    check(*on_machine(config.build(generated(config.from_run(directory, trusted=None)))), eagerly)


def check_experiment(name: str) -> gpu.Finding:
    """Check an experiment of the paper as a run of it would be; what is found is remembered for nobody.

    Raises:
        ValueError: if it cannot be run on this GPU.
    """
    settings = config.compose([f"experiment={name}", "scale=paper", "machine=cuda", "tracking=none"])
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "config.yaml").write_text(yaml.safe_dump(asdict(settings), sort_keys=False))
        return gpu.examine(Path(folder), settings.machine.capture)


def check_experiments(names: Sequence[str], examined: Callable[[str], gpu.Finding] = check_experiment) -> int:
    """Check one after the other and say what was found; how many cannot be run."""
    num_refused = 0
    for name in names:
        try:
            print(f"{name}: {examined(name).describe()}", flush=True)
        except ValueError as error:
            num_refused += 1
            print(f"{name}: cannot be run: {error}", flush=True)
    return num_refused


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line; a GPU that is not there or cannot be used ends it with exit status 1."""
    experiments = sorted(path.stem for path in (config.CONF / "experiment").glob("*.yaml"))
    parser = argparse.ArgumentParser(prog="python -m sparsity.selfcheck", description=__doc__.splitlines()[0])
    parser.add_argument("--experiments", default=",".join(experiments), help="separated by commas (default: all)")
    parser.add_argument("--run", type=Path, help=argparse.SUPPRESS)  # check here, for `sparsity.hardware.gpu`
    parser.add_argument("--eagerly", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    try:
        if options.run is not None:
            return check_run(options.run, options.eagerly)
    except ValueError as error:
        sys.exit(f"error: {error}")
    obstacle = driver.obstacle()
    if obstacle:
        sys.exit(f"error: No GPU can be checked: {obstacle}.")
    sys.exit(min(1, check_experiments(options.experiments.split(","))))


if __name__ == "__main__":
    main()
