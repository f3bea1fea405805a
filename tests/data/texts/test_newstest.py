"""Is the filtered test set of 2014 found in the full one, and only there?"""

from itertools import pairwise

import numpy as np

from sparsity.data.text import _with_subsets
from sparsity.data.texts import newstest
from sparsity.data.texts.seq2seq import TextSplit
from sparsity.data.texts.token_arrays import TokenArrays


def split_of(num_sentences: int) -> TextSplit:
    tokens = TokenArrays(np.zeros(num_sentences, dtype=np.int32), np.arange(num_sentences + 1))
    return TextSplit("wmt14/newstest2014", tokens, tokens)


def test_the_filtered_set_lacks_266_sentences_in_whole_documents() -> None:
    places = newstest.filtered()
    assert (len(places), places[0], places[-1]) == (2_737, 0, 3_002)
    assert sum(after - before > 1 for before, after in pairwise(places)) == 12


def test_the_full_test_set_holds_the_filtered_one() -> None:
    assert _with_subsets("newstest2014", split_of(3_003)).subsets == {"newstest2014_2737": newstest.filtered()}


def test_no_other_set_has_it() -> None:
    assert _with_subsets("newstest2014", split_of(2_737)).subsets == {}
    assert _with_subsets("train", split_of(3_003)).subsets == {}
