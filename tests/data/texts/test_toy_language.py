"""The toy corpora are the same on every platform, and need what real ones need."""

from itertools import islice

from sparsity.data.texts.corpora import toy_taskmaster, toy_wmt14
from sparsity.data.texts.toy_language import dialogues, sentences


def test_sentences_are_always_the_same() -> None:
    assert list(islice(sentences(), 2)) == [
        ("the big house sees a small book.", "das große Haus ein kleine Buch sieht."),
        ("the small tree sees the good cat.", "der kleine Baum die gute Katze sieht."),
    ]


def test_no_sentence_comes_twice_in_training_and_test() -> None:
    drawn = list(islice(sentences(), 5_400))
    assert len(set(drawn)) == len(drawn)


def test_the_last_reply_of_a_dialogue_needs_its_whole_context() -> None:
    *turns, (_, reply) = next(dialogues())
    first, second = (text.split("a ", 1)[1] for speaker, text in turns[:3] if speaker == "USER")
    assert reply.startswith(f"your {first.removesuffix(' please .')} and your {second.removesuffix(' .')}")


def test_equal_corpora_have_equal_digests_and_pairing_changes_them() -> None:
    assert toy_wmt14().content == toy_wmt14().content == "eb942ad28f8c8f52"
    assert toy_taskmaster(True).content != toy_taskmaster(False).content == "93690ee1ac21731c"
