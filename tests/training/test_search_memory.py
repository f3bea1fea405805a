"""Does a search of a network that never ends a sentence stay within the memory that it is promised?"""

import weakref
from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from sparsity.training.beam_search import Search, beam_search
from sparsity.training.incremental_decoder import DecoderWeights
from sparsity.training.search_memory import SEARCH_BYTES, bytes_per_beam, most_sentences
from tests.training.tiny_bart import BOS, EOS, PAD, sources, tiny_bart


def dimensions(num_layers: int, width: int, dtype: torch.dtype) -> DecoderWeights:
    """Of a decoder with 32,000 tokens, and no more than its dimensions."""
    tokens = torch.empty(32_000, width, device="meta")
    return cast(DecoderWeights, SimpleNamespace(tokens=tokens, layers=[None] * num_layers, dtype=dtype))


WMT14, TASKMASTER1 = Search(4, 0.6, 304, BOS, EOS, PAD), Search(6, 1.2, 200, BOS, EOS, PAD)


@pytest.mark.parametrize(
    ("dtype", "num_bytes", "most"), [(torch.float32, 16_852_000, 254), (torch.bfloat16, 8_758_000, 490)]
)
def test_wmt14s_beams_hold_what_is_computed_by_hand(dtype: torch.dtype, num_bytes: int, most: int) -> None:
    weights = dimensions(6, 512, dtype)
    assert bytes_per_beam(weights, WMT14) == pytest.approx(num_bytes, rel=1e-3)
    assert most_sentences(weights, WMT14) == most


@pytest.mark.parametrize("search", [WMT14, TASKMASTER1])
def test_the_sentences_of_a_search_fit_and_one_more_would_not(search: Search) -> None:
    weights = dimensions(6, 512, torch.float32)
    per_sentence, most = search.num_beams * bytes_per_beam(weights, search), most_sentences(weights, search)
    assert most * per_sentence <= SEARCH_BYTES < (most + 1) * per_sentence


def test_a_sentence_that_does_not_fit_is_searched_all_the_same() -> None:
    assert most_sentences(dimensions(6, 512, torch.float32), WMT14, num_bytes=1) == 1


class Held(TorchDispatchMode):
    """Counts the bytes of all tensors that were made since, and the most that lived at once."""

    def __init__(self) -> None:
        super().__init__()
        self.now, self.most = 0, 0
        self._known: set[int] = set()

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """One operation."""
        made = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(made):
            if isinstance(leaf, Tensor):
                self._hold(leaf.untyped_storage())
        return made

    def _hold(self, storage: torch.UntypedStorage) -> None:
        place = storage.data_ptr()
        if place in self._known:
            return
        self._known.add(place)
        self.now += storage.nbytes()
        self.most = max(self.most, self.now)
        weakref.finalize(storage, self._release, place, storage.nbytes())

    def _release(self, place: int, num_bytes: int) -> None:
        self._known.discard(place)
        self.now -= num_bytes


@pytest.mark.parametrize("num_beams", [1, 4])
def test_a_search_that_never_ends_a_sentence_holds_no_more_than_is_promised(num_beams: int) -> None:
    model, num_sentences = tiny_bart(), 12
    model.final_logits_bias[0, EOS] = -1e4
    ids, mask = sources(num_sentences, longest=4)
    weights, search = DecoderWeights(model), Search(num_beams, 0.6, 100, BOS, EOS, PAD)
    with torch.no_grad():
        encoded = model.model.encoder(input_ids=ids, attention_mask=mask).last_hidden_state
    with Held() as held:
        written = beam_search(weights, encoded, mask, search)
    assert (written[:, 1:-1] != EOS).all(), "no sentence should have ended"
    promised = num_sentences * num_beams * bytes_per_beam(weights, search)
    assert promised / 2 < held.most <= promised
