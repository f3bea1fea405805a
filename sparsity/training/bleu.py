"""How good is a text? BLEU of a whole corpus, by sacrebleu, with the signature that says how it was computed."""

from collections.abc import Sequence
from dataclasses import dataclass

from sacrebleu.metrics.bleu import BLEU


@dataclass(frozen=True)
class Bleu:
    """BLEU and what it is made of: `score` and the n-gram `precisions` (n = 1 to 4) in 0-100, ratios as fractions."""

    score: float
    precisions: tuple[float, ...]
    brevity_penalty: float
    length_ratio: float
    signature: str


def corpus_bleu(hypotheses: Sequence[str], references: Sequence[str], tokenize: str) -> Bleu:
    """Score one hypothesis per sentence against one reference each, both plain, detokenised text.

    Args:
        tokenize: `13a` (the standard of WMT), or `intl` (mteval's international tokenisation, tensor2tensor's).

    Raises:
        ValueError: if there is nothing to score, or not one reference per hypothesis.
    """
    if len(hypotheses) != len(references) or not references:
        raise ValueError(
            f"BLEU needs one reference per hypothesis, and at least one; got {len(hypotheses)} hypotheses and "
            f"{len(references)} references."
        )
    metric = BLEU(tokenize=tokenize, force=True)  # force: no warning where a text looks tokenised
    result = metric.corpus_score(list(hypotheses), [list(references)])
    signature = str(metric.get_signature())
    return Bleu(result.score, tuple(result.precisions), result.bp, result.sys_len / max(result.ref_len, 1), signature)
