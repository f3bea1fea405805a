"""How do the dialogues of Taskmaster become pairs? The context up to a user turn, and the assistant's next turn."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from sparsity.data.download import DataError

DIALOGUE_TOKENS = ("<user>", "<enduser>", "<agent>", "<endagent>", "<no_response>")
NO_RESPONSE = "<no_response>"
_FRAMES = {"USER": "<user>{}<enduser>", "ASSISTANT": "<agent>{}<endagent>"}

Turn = tuple[str, str]  # speaker (USER or ASSISTANT) and text
Dialogue = list[Turn]


def read_dialogues(path: Path) -> dict[str, Dialogue]:
    """The dialogues of a `self-dialogs.json` by their id.

    Raises:
        DataError: if the file is not in Taskmaster-1's schema.
    """
    try:
        entries = json.loads(path.read_text(encoding="utf-8"))
        return {entry["conversation_id"]: _turns(entry["utterances"]) for entry in entries}
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(f"{path} is not in Taskmaster-1's schema ({error}): fetch it again.") from error


def read_ids(path: Path) -> list[str]:
    """The ids of an official list, `train.csv` and the like: one a line, followed by a comma."""
    return [line.strip().rstrip(",") for line in path.read_text(encoding="utf-8").splitlines() if line.strip(" ,")]


def chosen(dialogues: Mapping[str, Dialogue], ids: Path) -> list[Dialogue]:
    """The dialogues that a list names, in its order.

    Raises:
        DataError: if one of them is missing.
    """
    names = read_ids(ids)
    if missing := [name for name in names if name not in dialogues]:
        raise DataError(f"{ids} names {len(missing)} unknown dialogues, the first is {missing[0]}: fetch both again.")
    return [dialogues[name] for name in names]


def pairs(dialogue: Dialogue, positional: bool) -> Iterator[tuple[str, str]]:
    """(source, target) for each user turn that is answered or ends the dialogue.

    Args:
        dialogue: turns in their order.
        positional: take every first turn as the user's and every second as the assistant's, as the authors did;
            otherwise the speaker who is on record decides, and a user who goes on speaking is waited for.
    """
    turns = _by_position(dialogue) if positional else dialogue
    context = ""
    for (speaker, text), (next_speaker, next_text) in zip(turns, [*turns[1:], ("", "")], strict=True):
        context += _FRAMES[speaker].format(text)
        if speaker == "USER" and next_speaker != "USER":
            yield context, _FRAMES["ASSISTANT"].format(next_text) if next_speaker else NO_RESPONSE


def plain_reply(target: str) -> str:
    """What the assistant says, without the markers around it; nothing for `<no_response>`."""
    for token in DIALOGUE_TOKENS:
        target = target.replace(token, "")
    return target.strip()


def _by_position(dialogue: Dialogue) -> Dialogue:
    return [("ASSISTANT" if number % 2 else "USER", text) for number, (_, text) in enumerate(dialogue)]


def _turns(utterances: list[dict[str, Any]]) -> Dialogue:
    turns = [(entry["speaker"], entry["text"].strip()) for entry in utterances]
    if unknown := {speaker for speaker, _ in turns} - set(_FRAMES):
        raise ValueError(f"a speaker is called {min(unknown)}")
    return turns
