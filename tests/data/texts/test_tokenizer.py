"""Text becomes ids and comes back exactly; the vocabulary has the size and the special tokens that were asked for."""

import pytest

from sparsity.data.texts.plain_text import unchanged
from sparsity.data.texts.tokenizer import decoder, encode, train_tokenizer
from sparsity.special_tokens import BASE_TOKENS

TEXTS = ["the old dog sees the old house.", "der alte Hund sieht das alte Haus.", "grün – 5 %  “so”"] * 3


def test_ids_of_special_tokens_come_first_in_their_order() -> None:
    tokenizer = train_tokenizer(TEXTS, 300, ("<user>",))
    assert [tokenizer.token_to_id(token) for token in (*BASE_TOKENS, "<user>")] == [0, 1, 2, 3]


def test_the_vocabulary_has_at_most_the_size_that_was_asked_for() -> None:
    assert train_tokenizer(TEXTS, 270).get_vocab_size() == 270


@pytest.mark.parametrize("text", [*TEXTS[:3], "never seen: Ω漢字 \t 🙂"])
def test_any_text_comes_back_exactly(text: str) -> None:
    tokenizer = train_tokenizer(TEXTS, 300)
    [row] = encode(tokenizer, [text], 1000, "head")
    assert decoder(tokenizer, unchanged)([row.tolist()]) == [text]


def test_a_word_has_one_form_wherever_it_stands() -> None:
    texts = ["old dog", "dog old"]
    first, second = encode(train_tokenizer(texts * 2, 300), texts, 254, "head")
    assert first[1:-1].tolist() == second[1:-1].tolist()[::-1]


def test_what_comes_once_is_not_learnt() -> None:
    assert [train_tokenizer(["dog"] * number, 300).get_vocab_size() for number in (1, 2)] == [259, 262]


def test_a_text_stands_between_bos_and_eos() -> None:
    [row] = encode(train_tokenizer(TEXTS, 300), ["the dog"], 254, "head")
    assert (row[0], row[-1]) == (0, 2)


@pytest.mark.parametrize(("keep", "kept"), [("head", slice(1, 4)), ("tail", slice(-4, -1))])
def test_a_long_text_keeps_its_head_or_its_tail(keep: str, kept: slice) -> None:
    tokenizer = train_tokenizer(TEXTS, 300)
    [whole] = encode(tokenizer, TEXTS[:1], 254, keep)
    [cut] = encode(tokenizer, TEXTS[:1], 3, keep)
    assert cut.tolist() == [0, *whole[kept].tolist(), 2]


def test_a_text_of_just_the_limit_is_kept_whole() -> None:
    tokenizer = train_tokenizer(TEXTS, 300)
    [whole] = encode(tokenizer, TEXTS[:1], 254, "tail")
    assert encode(tokenizer, TEXTS[:1], len(whole) - 2, "tail")[0].tolist() == whole.tolist()


def test_special_tokens_are_one_id_each_and_are_dropped_in_decoding() -> None:
    tokenizer = train_tokenizer(TEXTS, 300, ("<user>", "<enduser>"))
    [row] = encode(tokenizer, ["<user>the dog<enduser>"], 254, "head")
    assert (row[1], row[-2]) == (3, 4)
    assert decoder(tokenizer, unchanged)([[*row.tolist(), 1, 1]]) == ["the dog"]


@pytest.mark.parametrize("size", [258, 65_537])
def test_a_vocabulary_without_room_for_all_bytes_or_beyond_two_bytes_is_refused(size: int) -> None:
    with pytest.raises(ValueError, match=f"dataset.vocabulary_size is {size}, but it must be between 259"):
        train_tokenizer(TEXTS, size)
