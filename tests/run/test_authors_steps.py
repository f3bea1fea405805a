"""Twenty steps of `protocol=authors` against the authors' training as it can be written down plainly, in float64.

The reference shares with the package the first weights, the images of a batch, and the pairs of texts as stored.
"""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence
from torch.optim.lr_scheduler import CosineAnnealingLR, LambdaLR, LRScheduler

from sparsity import config
from sparsity.data import sizes
from sparsity.data.sizes import SplitSizes
from sparsity.data.texts import generated_ids
from sparsity.data.texts.sentence_order import ORDERS, EpochOrder, Lengths
from sparsity.data.texts.seq2seq import TextSplit
from sparsity.run.experiment import Experiment
from sparsity.run.pipeline import regularise_and_prune, take_baseline
from sparsity.run.workspace import Workspace, opened
from sparsity.special_tokens import PAD_ID
from sparsity.training.tasks import WritesText

NUM_STEPS, EVERY, FRACTION = 20, 5, 0.1
SETTINGS = (
    *("scale=smoke", "protocol=authors", "baseline=none", "machine=cpu", "machine.compile=none", "tracking=none"),
    *("gate.bound=-1", f"schedule.fraction={FRACTION}"),
    *(f"regularise.max_steps={NUM_STEPS}", f"regularise.evaluate_every_steps={EVERY}"),
)
Loss = Callable[[Workspace, nn.Module, int], Tensor]


@pytest.fixture(autouse=True)
def in_float64() -> Iterator[None]:
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


@pytest.fixture
def short_texts(monkeypatch: pytest.MonkeyPatch) -> None:
    """A thousand pairs of 2 to 13 tokens, in batches of all lengths, so that much is padding."""

    def unsorted(lengths: Lengths, batch_size: int, *_: object) -> EpochOrder:
        ends = np.arange(batch_size, len(lengths[0]) + 1, batch_size)
        return EpochOrder(np.arange(len(lengths[0])), ends - batch_size, ends)

    monkeypatch.setitem(sizes._TEXT["wmt14"], "generated", SplitSizes(1_000, 5, 5))
    monkeypatch.setitem(generated_ids._MEAN_TOKENS, "wmt14", (6.0, 6.0))
    monkeypatch.setitem(ORDERS, "sentences", unsorted)


def experiment(folder: Path, *words: str) -> Experiment:
    """An experiment as composed, whose network takes its images as float64."""
    built = config.build(config.compose([*SETTINGS, f"results_dir={folder}", f"data_dir={folder}", *words]))

    def build_model() -> nn.Module:
        model = built.build_model()
        if not isinstance(built.task, WritesText):
            model.register_forward_pre_hook(lambda _, inputs: (inputs[0].double(),))
        return model

    return replace(built, build_model=build_model)


def ours(work: Workspace) -> dict[str, Tensor]:
    """The weights after the regularised phase, its last cut included."""
    phase, gated = regularise_and_prune(work, *take_baseline(work))
    assert [point["step"] for point in gated.frontier] == list(range(EVERY, NUM_STEPS + 1, EVERY))
    return {name: p.detach().clone() for name, p in phase.model.named_parameters()}


def theirs(work: Workspace, loss_of: Loss) -> dict[str, Tensor]:
    """The same by their algorithm: penalty by autograd, every counter moved with each micro-batch."""
    settings = work.settings.regularise
    num_parts, penalty = settings.micro_batches, work.settings.pruner.penalty
    parts_per_epoch = len(work.data.train) // settings.batch_size * num_parts
    model = work.new_model()
    parameters = list(model.parameters())
    masks = [torch.ones_like(p) for p in parameters]
    options = settings.optimizer
    betas = (options.betas[0], options.betas[1])
    optimizer = torch.optim.Adam(parameters, lr=options.lr, betas=betas, eps=options.eps, foreach=False)
    scheduler = scheduled(optimizer, settings.lr_schedule.name, NUM_STEPS * num_parts)
    count = 0
    for step in range(NUM_STEPS):
        loss = torch.zeros(())
        for part in range(num_parts):
            count += 1
            loss = loss + loss_of(work, model, step * num_parts + part) / num_parts
            if part + 1 < num_parts:
                scheduler.step()
        strength = max(0.0, penalty.strength * (1 - count / parts_per_epoch))
        gradients = torch.autograd.grad(loss, parameters, retain_graph=True)
        pulls = zip(parameters, gradients, strict=True)
        total = loss + sum(strength * (torch.exp(-g.abs() / penalty.alpha) * w**2).sum() for w, g in pulls)
        optimizer.zero_grad()
        total.backward()
        optimizer.step()
        scheduler.step()
        if (step + 1) % EVERY == 0:
            cut(model, masks)
            count = 0
        with torch.no_grad():
            for p, mask in zip(parameters, masks, strict=True):
                p.mul_(mask)
    return {name: p.detach() for name, p in model.named_parameters()}


def scheduled(optimizer: torch.optim.Optimizer, name: str, num_moves: int) -> LRScheduler:
    """Torch's own cosine, or a rate that stays."""
    return CosineAnnealingLR(optimizer, num_moves) if name == "cosine" else LambdaLR(optimizer, lambda _: 1.0)


def cut(model: nn.Module, masks: list[Tensor]) -> None:
    """Sort every listed weight that remains, a tied one under each of its names, and take the first tenth away."""
    places = {p: number for number, p in enumerate(model.parameters())}
    listed = [p for _, p in model.named_parameters(remove_duplicate=False)]
    sizes = torch.cat([p.detach().abs().masked_fill(masks[places[p]] == 0, torch.inf).flatten() for p in listed])
    goes = torch.zeros(len(sizes), dtype=torch.bool)
    goes[sizes.argsort(stable=True)[: round(FRACTION * int(sizes.isfinite().sum()))]] = True
    for p, leaving in zip(listed, goes.split([p.numel() for p in listed]), strict=True):
        masks[places[p]][leaving.view(p.shape)] = 0.0


def of_images(work: Workspace, model: nn.Module, place: int) -> Tensor:
    """The loss of a batch; its images are the package's."""
    batches = work.data.training_batches(work.settings.regularise.batch_size, work.settings.seed, "regularise")
    batches.start_epoch(0)
    images, labels = batches.at(torch.tensor(place), place)
    return F.cross_entropy(model(images), labels)


def of_texts(work: Workspace, model: nn.Module, place: int) -> Tensor:
    """The network's own loss of a micro-batch: targets as they are stored, `<bos>` first, and their padding counted."""
    size = work.settings.regularise.batch_size // work.settings.regularise.micro_batches
    pairs = range(place * size, (place + 1) * size)
    train = work.data.train
    assert isinstance(train, TextSplit)
    sources, targets = (
        pad_sequence([torch.tensor(side.row(index)).long() for index in pairs], batch_first=True, padding_value=PAD_ID)
        for side in (train.sources, train.targets)
    )
    is_read = targets != PAD_ID
    assert 0.2 < (~is_read).double().mean() < 0.5
    loss: Tensor = model(sources, sources != PAD_ID, labels=targets, decoder_attention_mask=is_read).loss
    return loss


@pytest.mark.filterwarnings("ignore:Detected call of")  # they move the rate before the first step
@pytest.mark.parametrize(
    ("loss_of", "words"),
    [
        (of_images, ("experiment=lenet5_mnist", "regularise.batch_size=10")),
        (of_texts, ("experiment=transformer_wmt14", "task.num_sentences=1", "dataset.source=generated")),
    ],
    ids=["lenet5", "bart"],
)
def test_twenty_steps_are_the_authors(loss_of: Loss, words: tuple[str, ...], tmp_path: Path, short_texts: None) -> None:
    with opened(experiment(tmp_path, *words)) as work:
        found, expected = ours(work), theirs(work, loss_of)
    assert found.keys() == expected.keys()
    for name, weight in found.items():
        assert torch.equal(weight == 0, expected[name] == 0), name
        torch.testing.assert_close(weight, expected[name], rtol=0, atol=1e-12)
