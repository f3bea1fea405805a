"""BLEU of a whole corpus by sacrebleu, with the signature that says how it was computed."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from sacrebleu.metrics.bleu import BLEU
from sacrebleu.tokenizers.tokenizer_13a import Tokenizer13a

_COMPOUND = re.compile(r"(\S)-(\S)")


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
        tokenize: `13a` (the standard of WMT), `intl` (mteval's international tokenisation, that of tensor2tensor's
            t2t-bleu), or `compound`: 13a, then words split at their hyphens, after tensor2tensor's get_ende_bleu.sh,
            which takes Moses' tokeniser.

    Raises:
        ValueError: if there is nothing to score, or not one reference per hypothesis.
    """
    if len(hypotheses) != len(references) or not references:
        raise ValueError(
            f"BLEU needs one reference per hypothesis, and at least one; got {len(hypotheses)} hypotheses and "
            f"{len(references)} references."
        )
    is_split = tokenize == "compound"
    if is_split:
        hypotheses, references = _split_compounds(hypotheses), _split_compounds(references)
    # force: no warning where a text looks tokenised
    metric = BLEU(tokenize="none" if is_split else tokenize, force=True)
    result = metric.corpus_score(list(hypotheses), [list(references)])
    signature = str(metric.get_signature()).replace("tok:none", "tok:13a-compounds-split")
    return Bleu(result.score, tuple(result.precisions), result.bp, result.sys_len / max(result.ref_len, 1), signature)


def _split_compounds(lines: Sequence[str]) -> list[str]:
    """`rich-text` as three tokens, the hyphen written as in Stanford's release."""
    tokenize = Tokenizer13a()
    return [_COMPOUND.sub(r"\1 ##AT##-##AT## \2", tokenize(line)) for line in lines]
