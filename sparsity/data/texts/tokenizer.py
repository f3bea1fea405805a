"""Text as token ids and back: byte-level BPE, trained on the training text only.

Byte-level: every text can be written, decoding gives back exactly what was encoded, and no `<unk>` is needed.
"""

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from sparsity.data.texts.token_arrays import NUM_IDS
from sparsity.special_tokens import BASE_TOKENS, BOS_ID, EOS_ID

if TYPE_CHECKING:
    from tokenizers import Tokenizer

NUM_BYTES = 256
MIN_FREQUENCY = 2  # a pair of pieces that comes once teaches nothing


def train_tokenizer(texts: Iterable[str], vocabulary_size: int, special_tokens: tuple[str, ...] = ()) -> "Tokenizer":
    """A BPE of at most `vocabulary_size` tokens, the special ones and all 256 bytes included.

    Raises:
        ValueError: if `vocabulary_size` has no room for those, or its ids do not fit into two bytes.
    """
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    reserved = [*BASE_TOKENS, *special_tokens]
    if not len(reserved) + NUM_BYTES <= vocabulary_size <= NUM_IDS:
        raise ValueError(
            f"dataset.vocabulary_size is {vocabulary_size}, but it must be between {len(reserved) + NUM_BYTES} "
            f"(special tokens and bytes) and {NUM_IDS}."
        )
    tokenizer = Tokenizer(models.BPE())
    # with a space before the first word, a word has one form wherever it stands
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary_size,
        min_frequency=MIN_FREQUENCY,
        special_tokens=reserved,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer


def encode(tokenizer: "Tokenizer", texts: list[str], max_tokens: int, keep: str) -> list[NDArray[np.uint16]]:
    """Each text as `<bos> ... <eos>`; of a text longer than `max_tokens` the `head` or the `tail` is kept."""
    rows = [encoding.ids for encoding in tokenizer.encode_batch_fast(texts, add_special_tokens=False)]
    cut = slice(0, max_tokens) if keep == "head" else slice(-max_tokens, None)
    return [np.array([BOS_ID, *row[cut], EOS_ID], dtype=np.uint16) for row in rows]


def decoder(tokenizer: "Tokenizer", plain: Callable[[str], str]) -> Callable[[list[list[int]]], list[str]]:
    """A function from token ids to texts: special tokens dropped, then `plain`."""
    return lambda ids: [plain(text) for text in tokenizer.decode_batch(ids, skip_special_tokens=True)]
