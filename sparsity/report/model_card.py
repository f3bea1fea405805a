"""The Hub's model card of a published network: a head that machines read, and what a user needs.

A card stands beside the networks of one seed; the spread is that of all seeds of its configuration.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from sparsity.records import Network
from sparsity.report.blocks import table
from sparsity.report.cells import interval, number, spread
from sparsity.report.comparison import Kind
from sparsity.report.configurations import STARTS, Configuration, row_at
from sparsity.report.latency import Latencies
from sparsity.report.markdown import render_markdown
from sparsity.report.paper import PaperExperiment
from sparsity.report.publish import is_published
from sparsity.report.reading import Run
from sparsity.report.worth import truth_card

LICENSE = "mit"
ARXIV = "2204.04977"
TASKS = {"accuracy": "image-classification", "bleu": "translation"}


def model_cards(paper: PaperExperiment, ours: Configuration, latencies: Latencies) -> dict[Path, str]:
    """Path -> text of the card beside the published networks of each seed."""
    return {
        (run.directory / published[0].file).with_name("README.md"): _card(paper, ours, run, published, latencies)
        for run in ours.runs
        if (published := [network for network in run.networks if is_published(network)])
    }


def _card(paper: PaperExperiment, ours: Configuration, run: Run, networks: list[Network], latencies: Latencies) -> str:
    summary, provenance = run.summary, run.summary.provenance
    head = yaml.safe_dump(_head(paper, ours, run, networks), sort_keys=False, allow_unicode=True)
    header = ["Network", "Weights left", "Validation", "Test", "Test over all seeds", "95 % interval of the mean", "n"]
    rows = [_row(ours, run, network) for network in networks]
    card = truth_card([("", [(STARTS[network.start].capitalize(), network) for network in networks])], latencies)
    told = f"\n## What its zeros are worth\n\n{render_markdown(card).strip()}\n" if card else ""
    return f"""---
{head}---

# {paper.title}, pruned: {ours.name}, seed {summary.seed}

Of {networks[0].total:,} weights those below are left, the others are zeros.
{paper.metric_label} on {summary.data_used}.

{render_markdown([table(header, rows)]).strip()}

The network of a row is chosen on validation data and scored on test data once.
{told}
## How it was pruned

With `pruner={summary.pruner}` of a reproduction of *Regularization-based Pruning of Irrelevant Weights in Deep Neural
Architectures* ([arXiv {ARXIV}](https://arxiv.org/abs/{ARXIV})): {summary.regularise.num_prunes} prunes in
{summary.regularise.num_evaluations} evaluations, gated on validation data, then a final phase without a penalty. Commit
`{provenance.commit}`, {provenance.device}:

```bash
{provenance.command}
```

## Load it

```python
{_loading(summary.settings or {}, Path(networks[0].file).name)}
```

`make verify` counts and scores it again.
"""


def _head(paper: PaperExperiment, ours: Configuration, run: Run, networks: list[Network]) -> dict[str, Any]:
    """The keys that the Hub knows (huggingface.co/docs/hub/model-cards), plain values for YAML."""
    metric = run.summary.metric
    measured = [
        {"type": metric, "value": row.test, "name": f"{metric} at {number(row.sparsity, Kind.FRACTION)} % sparsity"}
        for network in networks
        if (row := row_at(run, network.start))
    ]
    result = {
        "task": {"type": TASKS[metric]},
        "dataset": {"type": run.summary.dataset, "name": run.summary.data_used, "split": "test"},
        "metrics": measured,
    }
    return {
        "license": LICENSE,
        "library_name": "pytorch",
        "tags": ["pruning", "sparse", run.summary.pruner],
        "datasets": [run.summary.dataset],
        "metrics": [metric],
        "model-index": [{"name": f"{paper.experiment} {ours.name}, seed {run.summary.seed}", "results": [result]}],
    }


def _row(ours: Configuration, run: Run, network: Network) -> list[str]:
    row = row_at(run, network.start)
    over = ours.test_metric(network.start)
    return [
        f"`{Path(network.file).name}`, {STARTS[network.start]}",
        f"{network.kept:,} ({number(1 - network.kept / network.total, Kind.FRACTION)} % sparse)",
        number(row.val if row else None, Kind.METRIC),
        number(row.test if row else None, Kind.METRIC),
        spread(over, Kind.METRIC),
        interval(over, Kind.METRIC),
        str(over.n) if over else "",
    ]


def _loading(settings: Mapping[str, Any], file: str) -> str:
    """Lines that make the network and load its weights."""
    model = dict(settings.get("model", {}))
    module, _, name = str(model.pop("_target_", "sparsity.models.MODEL")).rpartition(".")
    arguments = ", ".join(f"{key}={value!r}" for key, value in model.items())
    return "\n".join(
        (
            f"from pathlib import Path; from sparsity.weights.export import load_sparse; from {module} import {name}",
            f"model = {name}({arguments})",
            f'model.load_state_dict(load_sparse(Path("{file}")))',
        )
    )
