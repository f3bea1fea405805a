"""Each method on each of the six networks at smoke scale, cut to a few steps: it runs, or says why not."""

from pathlib import Path

import pytest

from sparsity import config
from sparsity.records import Summary
from sparsity.run import pipeline

EXPERIMENTS = sorted(path.stem for path in (config.CONF / "experiment").glob("*.yaml"))
METHODS = ("dns", "han", "sensitivity", "lobster_authors", "movement", "sws", "edropout", "zhu_gupta", "erk")
PATIENT = ("lobster_authors",)  # of which a few steps may see no plateau
HASTY = ("sws",)  # which after a few steps may put all weights at zero
REFUSED = [
    (name, method, reason)
    for name in EXPERIMENTS
    for method, reason in (
        ("sensitivity", "asks for scores of classes"),
        ("edropout", "this network has no convolution"),
    )
    if "transformer" in name
]


def run(results: Path, method: str, experiment: str) -> Summary:
    """A run of a few steps, with an evaluation every eight."""
    words = [f"experiment={experiment}", f"pruner={method}", "scale=smoke", "tracking=none", "machine=cpu"]
    words += ["schedule.plateau_evaluations=1"]
    lengths = [f"{phase}.max_steps={n}" for phase, n in (("baseline", 24), ("regularise", 24), ("finetune", 4))]
    settings = config.compose([*words, *lengths, f"results_dir={results}", "regularise.evaluate_every_steps=8"])
    return pipeline.run(config.build(settings))


@pytest.mark.slow
@pytest.mark.parametrize("experiment", EXPERIMENTS)
@pytest.mark.parametrize("method", METHODS)
def test_a_method_runs_on_a_network_and_prunes_it(tmp_path: Path, method: str, experiment: str) -> None:
    if refusals := [reason for name, of, reason in REFUSED if (name, of) == (experiment, method)]:
        with pytest.raises(ValueError, match=refusals[0]):
            run(tmp_path, method, experiment)
        assert not list(tmp_path.rglob("*.pt")), "it had trained already"
    else:
        sparsity = run(tmp_path, method, experiment).rows[-1].sparsity
        assert 0 < sparsity < 1 or (sparsity == 0 and method in PATIENT) or (sparsity == 1 and method in HASTY)
