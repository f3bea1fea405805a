"""Each method on each of the six networks at smoke scale, cut to a few steps: it runs, or says why not."""

from pathlib import Path

import pytest

from sparsity import config
from sparsity.run import pipeline

EXPERIMENTS = sorted(path.stem for path in (config.CONF / "experiment").glob("*.yaml"))
METHODS = ("dns",)


@pytest.mark.slow
@pytest.mark.parametrize("experiment", EXPERIMENTS)
@pytest.mark.parametrize("method", METHODS)
def test_a_method_runs_on_a_network_and_prunes_it(tmp_path: Path, method: str, experiment: str) -> None:
    words = [f"experiment={experiment}", f"pruner={method}", "scale=smoke", "tracking=none", "machine=cpu"]
    lengths = [f"{phase}.max_steps={n}" for phase, n in (("baseline", 24), ("regularise", 24), ("finetune", 4))]
    settings = config.compose([*words, *lengths, f"results_dir={tmp_path}", "regularise.evaluate_every_steps=8"])
    summary = pipeline.run(config.build(settings))
    assert 0 < summary.rows[-1].sparsity < 1
