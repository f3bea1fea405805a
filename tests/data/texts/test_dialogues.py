"""Dialogues become pairs: the context up to a user turn, and the assistant's next turn."""

import json
import logging
from pathlib import Path

import pytest

from sparsity.data.published.download import DataError
from sparsity.data.texts.dialogues import chosen, pairs, plain_reply, read_dialogues, read_ids

U, A = "USER", "ASSISTANT"


def test_the_source_is_the_whole_context_and_the_target_the_next_reply() -> None:
    dialogue = [(U, "hi"), (A, "hello"), (U, "tea"), (A, "sure")]
    assert list(pairs(dialogue, positional=False)) == [
        ("<user>hi<enduser>", "<agent>hello<endagent>"),
        ("<user>hi<enduser><agent>hello<endagent><user>tea<enduser>", "<agent>sure<endagent>"),
    ]


def test_a_user_without_an_answer_gets_no_response() -> None:
    assert list(pairs([(U, "hi")], positional=False)) == [("<user>hi<enduser>", "<no_response>")]


def test_a_user_who_goes_on_is_answered_once() -> None:
    dialogue = [(A, "yes?"), (U, "hi"), (U, "tea"), (A, "sure"), (A, "here")]
    [(source, target)] = pairs(dialogue, positional=False)
    assert source == "<agent>yes?<endagent><user>hi<enduser><user>tea<enduser>"
    assert target == "<agent>sure<endagent>"


def test_by_position_every_first_turn_is_the_users_whoever_spoke() -> None:
    dialogue = [(A, "yes?"), (U, "tea"), (U, "please")]
    assert list(pairs(dialogue, positional=True)) == [
        ("<user>yes?<enduser>", "<agent>tea<endagent>"),
        ("<user>yes?<enduser><agent>tea<endagent><user>please<enduser>", "<no_response>"),
    ]


@pytest.mark.parametrize(("target", "reply"), [("<agent> sure <endagent>", "sure"), ("<no_response>", "")])
def test_a_reply_is_scored_without_its_markers(target: str, reply: str) -> None:
    assert plain_reply(target) == reply


def test_lists_of_ids_choose_dialogues_in_their_order(tmp_path: Path) -> None:
    ids = tmp_path / "dev.csv"
    ids.write_text("dlg-2,\ndlg-1,\n")
    assert read_ids(ids) == ["dlg-2", "dlg-1"]
    assert chosen({"dlg-1": [(U, "one")], "dlg-2": [(U, "two")]}, ids) == [[(U, "two")], [(U, "one")]]


def test_a_listed_dialogue_that_is_missing_is_named(tmp_path: Path) -> None:
    (tmp_path / "dev.csv").write_text("dlg-1,\n")
    with pytest.raises(DataError, match="names 1 unknown dialogues, the first is dlg-1"):
        chosen({}, tmp_path / "dev.csv")


def write(path: Path, speaker: str) -> Path:
    entry = {"conversation_id": "dlg-1", "utterances": [{"index": 0, "speaker": speaker, "text": " hi "}]}
    path.write_text(json.dumps([entry]))
    return path


def test_dialogues_are_read_by_their_ids(tmp_path: Path) -> None:
    assert read_dialogues(write(tmp_path / "d.json", U)) == {"dlg-1": [(U, "hi")]}


def test_an_unknown_speaker_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"not in Taskmaster-1's schema \(dialogue dlg-1: a speaker is called WAITER\)"):
        read_dialogues(write(tmp_path / "d.json", "WAITER"))


@pytest.mark.parametrize(
    ("utterance", "what"),
    [
        ({"speaker": U, "text": None}, "a text is null"),
        ({"speaker": U, "text": 7}, "a text is 7"),
        ({"speaker": U}, "'text' is missing"),
    ],
)
def test_a_turn_without_a_text_is_named_with_its_dialogue(
    tmp_path: Path, utterance: dict[str, object], what: str
) -> None:
    path = tmp_path / "d.json"
    path.write_text(json.dumps([{"conversation_id": "dlg-7", "utterances": [utterance]}]))
    with pytest.raises(DataError, match=rf"d\.json is not in Taskmaster-1's schema \(dialogue dlg-7: {what}\)"):
        read_dialogues(path)


def test_a_dialogue_that_stands_there_twice_is_refused(tmp_path: Path) -> None:
    entry = {"conversation_id": "dlg-7", "utterances": []}
    (tmp_path / "d.json").write_text(json.dumps([entry, entry]))
    with pytest.raises(DataError, match=r"in Taskmaster-1's schema \(dialogue dlg-7 stands there twice\)"):
        read_dialogues(tmp_path / "d.json")


def test_a_dialogue_without_turns_gives_no_pair_and_is_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "dev.csv").write_text("dlg-1,\ndlg-2,\n")
    with caplog.at_level(logging.WARNING):
        dialogues = chosen({"dlg-1": [(U, "hi")], "dlg-2": []}, tmp_path / "dev.csv")
    assert caplog.messages == [f"warning: {tmp_path}/dev.csv names 1 dialogues without a turn, the first is dlg-2."]
    assert [len(list(pairs(dialogue, positional))) for dialogue in dialogues for positional in (False, True)] == [
        *(1, 1),
        *(0, 0),
    ]


def test_a_byte_order_mark_changes_neither_dialogues_nor_ids(tmp_path: Path) -> None:
    for path in (write(tmp_path / "d.json", U), tmp_path / "dev.csv"):
        content = path.read_bytes() if path.exists() else b"dlg-1,\n"
        path.write_bytes(b"\xef\xbb\xbf" + content)
    assert chosen(read_dialogues(tmp_path / "d.json"), tmp_path / "dev.csv") == [[(U, "hi")]]


def test_a_file_cut_short_is_refused(tmp_path: Path) -> None:
    (tmp_path / "d.json").write_text('[{"conversation_id": "dlg')
    with pytest.raises(DataError, match="not in Taskmaster-1's schema"):
        read_dialogues(tmp_path / "d.json")
