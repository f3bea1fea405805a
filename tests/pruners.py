"""The package's pruners as settings, without composing them from conf/."""

from typing import Any

from sparsity.settings import PenaltySettings, PrunerSettings


def pruner(
    name: str, strength: float = 0.0, prunes: bool = True, trigger: str = "gate", budget: str = "global", **penalty: Any
) -> PrunerSettings:
    """The method of a file of `sparsity/pruning/methods`, with lambda and what else `penalty` says."""
    return PrunerSettings(
        name=name,
        prunes=prunes,
        method={"_target_": f"sparsity.pruning.methods.{name}.{name.title()}"},
        penalty=PenaltySettings(
            strength=strength, is_weight_decay=name in ("l2", "relevance"), is_control=name in ("l1", "l2"), **penalty
        ),
        trigger=trigger,
        budget=budget,
    )


def own(name: str, **knobs: Any) -> PrunerSettings:
    """The method of a file of `sparsity/pruning/methods` that says by itself what is left, with its knobs."""
    class_name = "".join(word.title() for word in name.split("_"))
    node = {"_target_": f"sparsity.pruning.methods.{name}.{class_name}", **knobs}
    return PrunerSettings(name=name, prunes=True, method=node, trigger="own")


# such as prune the tiny runs, which have 16 steps
GATES = own(
    "l0",
    granularity="weight",
    l0_lambda=20.0,
    layer_lambdas={"fc2.*": 10.0},
    weight_decay=0.1,
    initial_drop=0.8,
    gate_rate=0.3,
)
NOISE = own(
    "sparse_vd",
    log_alpha_threshold=3.0,
    initial_log_variance=-1.0,
    kl_weight=5.0,
    rise_begin=0.0,
    rise_end=0.2,
    variance_rate=0.3,
)
