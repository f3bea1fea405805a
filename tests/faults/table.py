"""Which file of a run may be damaged, what the user then reads, and what comes of it.

Held to by test_damage.py, printed in README.md beside. {run} and {baseline} stand for the folders of a run and of the
baseline that it shares; (...) for the reason, which differs.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Fault:
    """A file of a run that is cut short, zeroed or overwritten.

    Attributes:
        file: or several that nobody reads, separated by commas.
        reads: the sentence about it; empty if there is none.
        then: what comes of it.
        removes: what an error says to remove, so that the same command goes on.
    """

    file: str
    reads: str
    then: str
    removes: str | None = None


FINAL, REGULARISE, BASELINE = (
    "{run}/checkpoints/finetune",
    "{run}/checkpoints/regularise",
    "{baseline}/checkpoints/baseline",
)
BEFORE = "The one before it is used."
AS_IT_SAYS = "after that the same command goes on"


def _damaged(path: str, more: str) -> str:
    return f"The checkpoint {path} is damaged (...). {more}"


def _again(folder: str) -> str:
    return f"Remove {folder}, and the run's summary.json if there is one, to train that phase again."


INTERRUPTED = (
    Fault(f"{FINAL}/last/last.pt", f"warning: {_damaged(f'{FINAL}/last/last.pt', BEFORE)}", "goes on from there"),
    Fault(
        f"{REGULARISE}/last.pt",
        f"warning: {_damaged(f'{REGULARISE}/last.pt', BEFORE)}",
        "goes on from there, and trains again what followed",
    ),
    Fault(
        f"{FINAL}/paper_sparsity/best.pt",
        f"error: {_damaged(f'{FINAL}/paper_sparsity/best.pt', _again(f'{FINAL}/paper_sparsity'))}",
        AS_IT_SAYS,
        f"{FINAL}/paper_sparsity",
    ),
    Fault(
        f"{BASELINE}/scored.pt",
        f"warning: {_damaged(f'{BASELINE}/scored.pt', 'It is made again.')}",
        "the best state is scored again",
    ),
    Fault(
        "{run}/metrics.jsonl",
        "error: {run}/metrics.jsonl is damaged in line 1: put the file back, or remove {run} to start again.",
        f"{AS_IT_SAYS}; of a line further on the phase is named, whose checkpoints are enough to remove",
        "{run}",
    ),
    Fault(
        "{run}/config.yaml",
        "warning: {run}/config.yaml is damaged; it is written anew, with the precision in manifest.json.",
        "goes on",
    ),
    Fault(
        "{run}/manifest.json",
        "warning: {run}/manifest.json is damaged: who trained this run until now is not known any more.",
        "goes on",
    ),
    Fault(
        f"{REGULARISE}/best.pt, {REGULARISE}/last_network.pt, {REGULARISE}/paper_sparsity.pt, "
        f"{REGULARISE}/last.previous.pt, {BASELINE}/best.pt, {BASELINE}/last.pt",
        "",
        "nobody reads them any more, or they are written anew; paper_sparsity.pt, until its final phase has begun, is "
        "an error as that of best.pt above",
    ),
)
"""When the command of a run is given again that was interrupted in its second final phase."""

_RECORDS = "remove {run}/summary.json and give that run's command again, or delete its directory."
DONE = (
    Fault(
        "{run}/summary.json", "error: {run}/summary.json cannot be used: (...); " + _RECORDS, "train.py writes it again"
    ),
    Fault("{run}/layers.csv", "error: {run}/layers.csv cannot be used: (...); " + _RECORDS, "train.py writes it again"),
    Fault(
        "{run}/curve.jsonl", "error: {run}/curve.jsonl cannot be used: (...); " + _RECORDS, "train.py writes it again"
    ),
    Fault("{run}/card.json", "error: {run}/card.json cannot be used: (...); " + _RECORDS, "train.py writes it again"),
    Fault(
        "{run}/config.yaml",
        "error: {run}/config.yaml is damaged: remove {run}/summary.json, if it is there, and give that run's command "
        "again, which writes it anew.",
        "train.py writes it again",
    ),
    Fault(
        f"{FINAL}/last/best.pt",
        f"error: {_damaged(f'{FINAL}/last/best.pt', _again(f'{FINAL}/last'))}",
        "train.py trains that phase again, once both are removed",
        f"{FINAL}/last",
    ),
)
"""Of a finished run: what report.py, evaluate.py and export.py say, and train.py of the summary."""


def rendered() -> str:
    """Both tables as Markdown."""
    return "\n".join(
        f"### {title}\n\n| damaged | the user reads | then |\n|---|---|---|\n{''.join(map(_row, faults))}"
        for title, faults in (
            ("The command of an interrupted run is given again", INTERRUPTED),
            ("A finished run is read", DONE),
        )
    )


def _row(fault: Fault) -> str:
    files = ", ".join(f"`{file}`" for file in fault.file.split(", "))
    return f"| {files} | {fault.reads or 'nothing'} | {fault.then} |\n"


if __name__ == "__main__":
    print(rendered())
