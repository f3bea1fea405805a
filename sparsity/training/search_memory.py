"""How many sentences may be searched at once, so that a network that never ends one fits a GPU of 24 GB.

A pruned or untrained network may write every hypothesis to the full length L. Each of a sentence's K beams then holds

- its past, a key and a value of each position in each of N layers: 2 N * width numbers a position, for L rounded up to
  whole blocks. There are two such buffers, between which beams change places, and attention may copy one layer's;
- scores of V next tokens: as the product gives them, in fp32, with a token forced, as log-probabilities, and once more
  while the best are chosen: 20 V bytes at most;
- texts, 8 bytes a token: running and ended ones, and the candidates for both, ten in all.

For WMT14's network in fp32 (N = 6, width 512, V = 32,000, L = 304 in blocks of 16, K = 4) that is

    (2 * 6 + 1) * 2 * 512 * 4 * 304 + 20 * 32,000 + 80 * 304 = 16.85 MB a beam, 67.4 MB a sentence,

so that 16 GiB take 254 sentences, in bf16 490. What remains of 24 GB is for the weights, their optimiser and the
encoder's output: batches are bounded by source tokens too, whose keys and values take 0.2 GB.
"""

from sparsity.training.beam_search import Search
from sparsity.training.incremental_decoder import BLOCK, DecoderWeights

SEARCH_BYTES = 16 << 30


def most_sentences(weights: DecoderWeights, search: Search, num_bytes: int = SEARCH_BYTES) -> int:
    """How many sentences a search may take at a time, at least 1."""
    return max(1, num_bytes // (search.num_beams * bytes_per_beam(weights, search)))


def bytes_per_beam(weights: DecoderWeights, search: Search) -> int:
    """What one beam holds when it has run to the full length."""
    vocabulary_size, width = weights.tokens.shape
    num_positions = -(-search.max_length // BLOCK) * BLOCK
    past = (2 * len(weights.layers) + 1) * 2 * width * weights.dtype.itemsize * num_positions
    return past + 20 * vocabulary_size + 80 * search.max_length
