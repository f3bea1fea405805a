"""The paper's claims, one sentence each, with our evidence and a verdict that is computed from the records.

A rule is a function of the published numbers and of our runs; a changed number changes its verdict. The list of claims
is results/claims.yaml.
"""

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from sparsity.report.blocks import Block, Heading, Prose, anchor, table
from sparsity.report.cells import spread
from sparsity.report.comparison import Kind, Verdict, compare, headline
from sparsity.report.configurations import Configuration
from sparsity.report.controls import contrasts
from sparsity.report.equivalence import Outcome
from sparsity.report.paper import PaperExperiment
from sparsity.report.parsing import decode_document, load_yaml
from sparsity.report.tables import Section, own_results
from sparsity.report.units import implied

FILE = "claims.yaml"
TITLE = "The paper's claims"


class Finding(StrEnum):
    """What our evidence says of a claim."""

    SUPPORTED = "supported"
    PARTLY = "partly"
    CONTRADICTED = "contradicted"
    NOT_TESTED = "not tested"


RULES = """Verdicts are computed from the records, by these rules. *result*: our headline runs at the paper's sparsity
match or exceed the printed metric (supported), are short by the rule of the overview (contradicted), or beyond the
tolerance without the evidence that would tell it from chance (partly). *layers*: all, some or none of the printed
shares of the layers are within their tolerance. *control*: the comparisons with that control,
shown below, of runs without a mark. Where some are different in favour of relevance, and not within the margin of
equivalence, it is supported, or partly so if others are within the margin or in favour of the control. Where none is,
it is contradicted if some are different in favour of the control, or if all are equivalent, as what is equal is not
better; otherwise it is not tested, as no difference shown is no equality. *bounds*: all, some or none of the printed
bounds lie below the printed dense baseline. *evaluations*: the printed epochs, batch and interval offer as many
evaluations as the printed sparsity needs prunes. *units*: all, some or none of the rows imply by their own columns the
sparsity that they print, as a share of weights. *Settings tried*: configurations of the paper's method at full size on
record; with one, the paper's own, nothing was chosen. What was easy and what was difficult stands at the end of the
findings."""


@dataclass(frozen=True)
class Claim:
    """A sentence of the paper, where it stands, and the rule that decides on it, with what that needs."""

    text: str
    where: str
    rule: str
    experiment: str = ""
    control: str = ""
    examples: int = 0


@dataclass(frozen=True)
class Claims:
    """The list."""

    claims: tuple[Claim, ...]


Judged = tuple[Finding, str]


def load_claims(path: Path) -> tuple[Claim, ...]:
    """The claims of a file such as results/claims.yaml; none without one.

    Raises:
        ValueError: one sentence with what is wrong in it.
    """
    if not path.is_file():
        return ()
    return load_yaml(path, lambda document: decode_document(Claims, document)).claims


def claims_section(sections: Sequence[Section], claims: Sequence[Claim]) -> list[Block]:
    """Each claim with its verdict and the evidence.

    Raises:
        ValueError: naming a rule or an experiment that there is not.
    """
    if not claims:
        return []
    rows = []
    for place, claim in enumerate(claims, 1):
        finding, evidence = judged(claim, sections)
        rows.append(
            [f"{place}. {claim.text}", claim.where, finding.value, evidence, _runs(claim, sections), claim.rule]
        )
    header = ["Claim", "Where", "Verdict", "Our evidence", "Runs, and settings tried", "Rule"]
    return [Heading(2, TITLE), table(header, rows), Prose(RULES)]


def _runs(claim: Claim, sections: Sequence[Section]) -> str:
    """Where the runs of a claim stand, and how many settings of the paper's method its number was chosen from."""
    if claim.rule not in _OF_RUNS:
        return ""
    of = [(paper, own_results(paper, ours)) for paper, ours in sections if claim.experiment in ("", paper.experiment)]
    links = [f"[{paper.title}](#{anchor(paper.title)}): {len(judged)}" for paper, judged in of if judged]
    return ", ".join(links)


def tally(sections: Sequence[Section], claims: Sequence[Claim]) -> dict[Finding, int]:
    """How many claims have each verdict that any has. Raises as `claims_section`."""
    found = Counter(judged(claim, sections)[0] for claim in claims)
    return {finding: found[finding] for finding in Finding if finding in found}


def judged(claim: Claim, sections: Sequence[Section]) -> Judged:
    """The verdict on a claim, and why. Raises as `claims_section`."""
    rule = _RULES.get(claim.rule)
    if rule is None:
        raise ValueError(f"There is no rule {claim.rule} for a claim; choose among {', '.join(_RULES)}.")
    return rule(claim, {paper.experiment: (paper, ours) for paper, ours in sections})


Sections = Mapping[str, tuple[PaperExperiment, list[Configuration]]]


def _section(claim: Claim, sections: Sections) -> tuple[PaperExperiment, list[Configuration]]:
    if claim.experiment not in sections:
        raise ValueError(f"There is no experiment {claim.experiment}; choose among {', '.join(sections)}.")
    return sections[claim.experiment]


def _result(claim: Claim, sections: Sections) -> Judged:
    paper, ours = _section(claim, sections)
    items = [item for each in own_results(paper, ours) if (item := headline(paper, each))]
    tested = [item for item in items if item.verdict is not Verdict.NOT_RUN]
    if not tested:
        return Finding.NOT_TESTED, "no run of full size"
    item = next((item for item in tested if item.ours is not None), tested[0])
    found = {Verdict.MATCHES: Finding.SUPPORTED, Verdict.BETTER: Finding.SUPPORTED,
             Verdict.SHORT: Finding.CONTRADICTED}.get(item.verdict, Finding.PARTLY)  # fmt: skip
    told = "never reached" if item.ours is None else f"{spread(item.ours, Kind.METRIC)}, n = {item.ours.n}"
    return found, f"{told} ({item.words})"


def _layers(claim: Claim, sections: Sections) -> Judged:
    paper, ours = _section(claim, sections)
    for each in own_results(paper, ours):
        left = [item for item in compare(paper, each) if item.number.endswith("left (%)")]
        items = [item for item in left if item.ours is not None]
        if not items:
            continue
        shares = [f"{item.number.removesuffix(' left (%)')} {spread(item.ours, Kind.FRACTION)} %" for item in items]
        return _of_all([item.verdict is Verdict.MATCHES for item in items], ", ".join(shares))
    return Finding.NOT_TESTED, "no run of full size at the paper's sparsity"


def _control(claim: Claim, sections: Sections) -> Judged:
    found = [
        contrast
        for paper, ours in sections.values()
        for contrast in contrasts(paper, ours)
        if contrast.control.first.pruner == claim.control
        and not (contrast.ours.has_own_irrelevance or contrast.ours.marks)
    ]
    outcomes = [contrast.outcome for contrast in found]
    signs = [contrast.pairs.difference.mean > 0 for contrast in found if contrast.outcome is Outcome.DIFFERENT]
    favour, against, undecided = sum(signs), len(signs) - sum(signs), outcomes.count(Outcome.UNDECIDED)
    equal = len(found) - len(signs) - undecided
    told = f"{len(found)} comparisons: {favour} in favour, {against} against, {equal} equivalent, {undecided} undecided"
    if favour:
        return Finding.PARTLY if against or equal else Finding.SUPPORTED, told
    return Finding.CONTRADICTED if against or (equal and not undecided) else Finding.NOT_TESTED, told


def _bounds(claim: Claim, sections: Sections) -> Judged:
    pairs = []
    for paper, _ in sections.values():
        bound = _setting(paper, "lower bound")
        dense = next((row.metric for row in paper.results.rows if row.sparsity is None), None)
        if bound is not None and dense is not None:
            pairs.append((paper.title, bound, dense))
    above = [f"{title}: {bound:g} above {dense:g}" for title, bound, dense in pairs if bound >= dense]
    return _of_all([bound < dense for _, bound, dense in pairs], "; ".join(above) or "all lie below")


def _evaluations(claim: Claim, sections: Sections) -> Judged:
    paper, _ = _section(claim, sections)
    row, fraction = paper.row("relevance"), _setting(paper, "pruned per prune")
    epochs, batch, every = (_setting(paper, name) for name in ("epochs", "batch size", "evaluation interval"))
    if row is None or row.sparsity is None or not (fraction and epochs and batch and every):
        return Finding.NOT_TESTED, "the paper does not print what it takes"
    needed = round(math.log(1 - row.sparsity) / math.log(1 - fraction))
    offered = int(epochs) * (claim.examples // int(batch) // int(every))
    found = Finding.SUPPORTED if offered >= needed else Finding.CONTRADICTED
    return found, f"{needed} prunes are needed, {offered} evaluations offered"


def _units(claim: Claim, sections: Sections) -> Judged:
    paper, _ = _section(claim, sections)
    rows = [row for row in paper.results.rows if row.sparsity is not None]
    agree = {row.printed: found.agrees(row.sparsity or 0.0) for row in rows if (found := implied(paper, row))}
    odd = [name for name, agrees in agree.items() if not agrees]
    return _of_all(list(agree.values()), f"not so: {', '.join(odd)}" if odd else "all agree")


def _of_all(hold: Sequence[bool], told: str) -> Judged:
    """Supported where all hold, contradicted where none does."""
    if not hold:
        return Finding.NOT_TESTED, "nothing to hold it against"
    if all(hold):
        return Finding.SUPPORTED, told
    return (Finding.PARTLY if any(hold) else Finding.CONTRADICTED), told


def _setting(paper: PaperExperiment, name: str) -> float | None:
    value = next((setting.value for setting in paper.settings if setting.name == name), None)
    return None if value is None else float(value)


_OF_RUNS = ("result", "layers", "control")
_RULES: dict[str, Callable[[Claim, Sections], Judged]] = {
    "result": _result,
    "layers": _layers,
    "control": _control,
    "bounds": _bounds,
    "evaluations": _evaluations,
    "units": _units,
}
