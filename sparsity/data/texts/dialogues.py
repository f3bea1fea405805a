"""Pairs from Taskmaster's dialogues: the context up to a user turn, and the assistant's next turn."""

import json
import logging
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from sparsity.data.published.download import DataError
from sparsity.data.texts.lines import Lines, read_text

DIALOGUE_TOKENS = ("<user>", "<enduser>", "<agent>", "<endagent>", "<no_response>")
NO_RESPONSE = "<no_response>"
_FRAMES = {"USER": "<user>{}<enduser>", "ASSISTANT": "<agent>{}<endagent>"}

Turn = tuple[str, str]  # speaker (USER or ASSISTANT) and text
Dialogue = list[Turn]
_log = logging.getLogger(__name__)


def read_dialogues(path: Path) -> dict[str, Dialogue]:
    """The dialogues of a `self-dialogs.json` by their id.

    Raises:
        DataError: if the file is not in Taskmaster-1's schema.
    """
    text = read_text(path)
    try:
        return _by_name(_dialogue(entry) for entry in json.loads(text))
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(f"{path} is not in Taskmaster-1's schema ({error}): remove it and run again.") from error


def read_ids(path: Path) -> list[str]:
    """The ids of an official list, `train.csv` and the like: one a line, followed by a comma."""
    return [line.rstrip(",") for line in Lines(path) if line.strip(" ,")]


def check_disjoint(lists: Iterable[Path]) -> None:
    """Hold each dialogue to one part: one that is trained on and tested with would flatter every metric.

    Raises:
        DataError: naming the first id that stands in two lists, or twice in one.
    """
    seen: dict[str, Path] = {}
    for path in lists:
        for name in read_ids(path):
            if name in seen:
                where = f"twice in {path}" if seen[name] == path else f"in {seen[name]} and in {path}"
                raise DataError(
                    f"The dialogue {name} is named {where}, but it may belong to one part only, once: remove these "
                    "lists and run again, so that they are had anew."
                )
            seen[name] = path


def chosen(dialogues: Mapping[str, Dialogue], ids: Path) -> list[Dialogue]:
    """The dialogues that a list names, in its order; an empty one gives no pair, and is named.

    Raises:
        DataError: if one of them is missing.
    """
    names = read_ids(ids)
    if missing := [name for name in names if name not in dialogues]:
        raise DataError(
            f"{ids} names {len(missing)} unknown dialogues, the first is {missing[0]}: remove it and run again."
        )
    if empty := [name for name in names if not dialogues[name]]:
        _log.warning("warning: %s names %d dialogues without a turn, the first is %s.", ids, len(empty), empty[0])
    return [dialogues[name] for name in names]


def pairs(dialogue: Dialogue, positional: bool) -> Iterator[tuple[str, str]]:
    """(source, target) for each user turn that is answered or ends the dialogue.

    Args:
        dialogue: turns in their order.
        positional: take every first turn as the user's and every second as the assistant's, as the authors did;
            otherwise the speaker who is on record decides, and a user who goes on speaking is waited for.
    """
    turns = _by_position(dialogue) if positional else dialogue
    following = [*turns[1:], ("", "")] if turns else []
    context = ""
    for (speaker, text), (next_speaker, next_text) in zip(turns, following, strict=True):
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


def _by_name(entries: Iterable[tuple[str, Dialogue]]) -> dict[str, Dialogue]:
    dialogues: dict[str, Dialogue] = {}
    for name, turns in entries:
        if name in dialogues:
            raise ValueError(f"dialogue {name} stands there twice")
        dialogues[name] = turns
    return dialogues


def _dialogue(entry: dict[str, Any]) -> tuple[str, Dialogue]:
    """Id and turns of an entry of the file; a ValueError says what is wrong in which dialogue."""
    name = str(entry["conversation_id"])
    try:
        return name, [_turn(utterance) for utterance in entry["utterances"]]
    except (ValueError, KeyError, TypeError) as error:
        what = f"{error} is missing" if isinstance(error, KeyError) else str(error)
        raise ValueError(f"dialogue {name}: {what}") from error


def _turn(utterance: dict[str, Any]) -> Turn:
    speaker, text = utterance["speaker"], utterance["text"]
    if speaker not in _FRAMES:
        raise ValueError(f"a speaker is called {speaker}")
    if not isinstance(text, str):
        raise ValueError(f"a text is {json.dumps(text)}")
    return speaker, text.strip()
