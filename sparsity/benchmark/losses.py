"""The loss over the whole vocabulary, forward and backward, against its three matrix products alone, by turns.

Products into memory that is there: what the loss takes beyond them is the cross-entropy itself and memory.
"""

from collections.abc import Iterator
from typing import Any

import torch

from sparsity.benchmark.timing import Contestant, spread, time_in_turns
from sparsity.run.workspace import Workspace
from sparsity.training.token_loss import token_cross_entropy


def loss_measurements(work: Workspace, batch: Any, num_rounds: int) -> Iterator[dict[str, Any]]:
    """Seconds of both, and their ratio.

    Args:
        work: the experiment.
        batch: a micro-batch, whose counted labels are taken.
        num_rounds: of the comparison, at least 2.
    """
    model: Any = work.new_model()
    weight, bias, device = model.lm_head.weight, model.final_logits_bias[0], work.device
    labels = batch.labels.flatten().index_select(0, batch.counted)
    hidden = torch.randn(len(labels), weight.shape[1], device=device, requires_grad=True)
    smoothing, chunk = work.settings.task["label_smoothing"], work.settings.task["chunk_tokens"]
    dtype = torch.bfloat16 if work.execution.bf16 else torch.float32
    states, projection = hidden.detach().to(dtype), weight.detach().to(dtype)
    scores, to_hidden, to_weight = states @ projection.t(), torch.empty_like(states), torch.empty_like(projection)

    def loss() -> None:
        hidden.grad = weight.grad = None
        with work.execution.precision(device):
            total = token_cross_entropy(hidden, labels, weight, bias, smoothing, chunk)
        total.backward()

    def products() -> None:
        torch.mm(states, projection.t(), out=scores)
        torch.mm(scores, projection, out=to_hidden)
        torch.mm(scores.t(), states, out=to_weight)

    contestants = {"loss": Contestant(loss), "products": Contestant(products)}
    seconds = time_in_turns(contestants, num_rounds, 1, device)
    size = {"tokens": len(labels), "vocabulary": len(weight)}
    yield {"measured": "loss", **spread(seconds["loss"], "seconds"), **size}
    ratios = [ours / floor for ours, floor in zip(seconds["loss"], seconds["products"], strict=True)]
    yield {"measured": "loss / products", **spread(ratios, "ratio")}
