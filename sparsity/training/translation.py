"""The task on pairs of texts: token cross-entropy in training, BLEU of generated text at each evaluation."""

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Protocol

import torch
from torch import Tensor, nn

from sparsity.hardware import ranks
from sparsity.training.beam_search import Search, beam_search
from sparsity.training.bleu import Bleu, corpus_bleu
from sparsity.training.incremental_decoder import DecoderWeights
from sparsity.training.search_memory import most_sentences
from sparsity.training.token_loss import CHUNK_TOKENS, token_cross_entropy

if TYPE_CHECKING:
    from transformers import BartForConditionalGeneration

SUBSET_SEED = 0
# Each evaluation reports all of them; the one that `bleu` is, is a key of the protocol.
DEFINITIONS = {"bleu_13a": "13a", "bleu_intl": "intl", "bleu_compound": "compound"}


class TextBatch(Protocol):
    """A batch of pairs: B sentences, S source tokens, T target tokens; labels are -100 where nothing counts.

    counted: where the flattened labels count, [N], ascending.
    """

    @property
    def input_ids(self) -> Tensor: ...

    @property
    def attention_mask(self) -> Tensor: ...

    @property
    def labels(self) -> Tensor: ...

    @property
    def decoder_input_ids(self) -> Tensor: ...

    @property
    def counted(self) -> Tensor: ...


class EvaluationText(Protocol):
    """A whole split: what is to be read, what should come out, and its vocabulary.

    subsets: name -> places in the split that are scored by themselves too, where all of it is.
    """

    @property
    def references(self) -> list[str]: ...

    @property
    def subsets(self) -> Mapping[str, Sequence[int]]: ...

    @property
    def bos_id(self) -> int: ...

    @property
    def eos_id(self) -> int: ...

    @property
    def pad_id(self) -> int: ...

    @property
    def is_gate(self) -> bool: ...

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """(place in the split [B], input ids [B, S], attention mask [B, S]), similar lengths together."""
        ...

    def loss_batches(self) -> Iterator[TextBatch]:
        """The whole split as pairs."""
        ...

    def share(self, place: int, size: int) -> "EvaluationText":
        """One of `size` shares of the split, whose places are those of the whole."""
        ...

    def decode(self, ids: Tensor) -> list[str]:
        """Plain text of token ids [B, L], special tokens left out."""
        ...


class Translation:
    """From one text to another: translation, or the next turn of a dialogue.

    After each evaluation `hypotheses` holds its texts in the order of the split, one line each, and `signatures` says
    how each BLEU was computed.

    Args:
        num_beams, length_penalty, max_length: of the beam search; `max_length` counts the start token.
        label_smoothing: share of the target that is spread over the vocabulary in training, in [0, 1].
        num_sentences: generate for so many sentences of the validation split, by a fixed draw, None: for all; test
            splits are scored whole.
        chunk_tokens: target tokens whose scores are held at a time.
        padding_counts: in the loss, where the batch labels it; no target reads its padding all the same.
        bos_twice: the start token is forced once more as first token.
        international_bleu: `bleu` is by the international tokenisation of tensor2tensor, else by sacrebleu's 13a. All
            `DEFINITIONS` stand beside both.
    """

    metrics: tuple[str, ...] = ("bleu", *DEFINITIONS)

    def __init__(
        self,
        num_beams: int = 4,
        length_penalty: float = 0.6,
        max_length: int = 304,
        label_smoothing: float = 0.0,
        num_sentences: int | None = None,
        chunk_tokens: int = CHUNK_TOKENS,
        padding_counts: bool = False,
        bos_twice: bool = False,
        international_bleu: bool = False,
    ) -> None:
        self._num_beams, self._length_penalty, self._max_length = num_beams, length_penalty, max_length
        self._label_smoothing = label_smoothing
        self._padding_counts, self._bos_twice = padding_counts, bos_twice
        self._tokenize = "intl" if international_bleu else "13a"
        self._num_sentences, self._chunk_tokens = num_sentences, chunk_tokens
        self.hypotheses: list[str] = []
        self.signatures: dict[str, str] = {}

    def called(self, model: "BartForConditionalGeneration") -> nn.Module:
        """The network without its head, which the loss applies chunk by chunk."""
        network: nn.Module = model.model
        return network

    def forward(self, model: "BartForConditionalGeneration", batch: TextBatch) -> tuple[Tensor, Tensor]:
        """(mean cross-entropy per counted token of this batch, the decoder's output at those tokens, [N, width]).

        A step that accumulates micro-batches averages their means, as the authors' code does: a token of a micro-batch
        with few tokens weighs a little more.
        """
        total, hidden = self._loss(model, batch, self._label_smoothing)
        return total / len(hidden), hidden

    @torch.no_grad()
    def evaluate(self, model: "BartForConditionalGeneration", text: EvaluationText) -> dict[str, Tensor]:
        """Metrics of a split, as 0-dim tensors; leaves the model in the mode it was in.

        `loss` (per token, no label smoothing), `bleu` and its `DEFINITIONS` in 0-100, these of a subset of the split as
        `bleu_13a/<name>` and so on, and of `bleu` the `bleu_precision_1` to `_4` in 0-100, `bleu_brevity_penalty` and
        `bleu_length_ratio` (our length over the references').
        """
        was_training = model.training
        model.eval()
        loss = self._mean_loss(model, text)
        chosen = self._chosen(text)
        hypotheses = self.generate(model, text, chosen)
        model.train(was_training)
        self.hypotheses = [hypotheses[index] for index in chosen]
        references = [text.references[index] for index in chosen]
        by_name = {name: corpus_bleu(self.hypotheses, references, how) for name, how in DEFINITIONS.items()}
        main = next(by_name[name] for name, how in DEFINITIONS.items() if how == self._tokenize)
        self.signatures = {"bleu": main.signature} | {name: bleu.signature for name, bleu in by_name.items()}
        values = _values(main) | {name: bleu.score for name, bleu in by_name.items()}
        for name, places in text.subsets.items() if len(chosen) == len(text.references) else ():
            values |= self._values_of_subset(name, references, places)
        return {"loss": loss} | {name: torch.tensor(value, dtype=torch.float64) for name, value in values.items()}

    @torch.no_grad()
    def generate(
        self, model: "BartForConditionalGeneration", text: EvaluationText, chosen: list[int]
    ) -> dict[int, str]:
        """Place in the split -> generated text on one line, for the chosen places; the model is in evaluation mode.

        Several ranks generate for a share each and have the texts of all.
        """
        weights, search, wanted = DecoderWeights(model), self._search(model, text), set(chosen)
        most = most_sentences(weights, search)
        hypotheses: dict[int, str] = {}
        here = ranks.here()
        for places, input_ids, attention_mask in here.share(text):
            of_batch = [row for row, place in enumerate(places.tolist()) if place in wanted]
            for start in range(0, len(of_batch), most):
                rows = of_batch[start : start + most]
                ids, mask = input_ids[rows], attention_mask[rows]
                encoded = model.model.encoder(input_ids=ids, attention_mask=mask).last_hidden_state
                lines = text.decode(beam_search(weights, encoded, mask, search))
                # one line each, as a file holds it: no tokenisation of BLEU tells white spaces apart
                hypotheses |= zip(places[rows].tolist(), (" ".join(line.split()) for line in lines), strict=True)
        return {place: line for of_rank in here.gather(hypotheses) for place, line in of_rank.items()}

    def _values_of_subset(self, name: str, references: list[str], places: Sequence[int]) -> dict[str, float]:
        """Of the texts at some places of a split that has just been generated whole."""
        part = [self.hypotheses[place] for place in places], [references[place] for place in places]
        return {f"{metric}/{name}": corpus_bleu(*part, how).score for metric, how in DEFINITIONS.items()}

    def _search(self, model: "BartForConditionalGeneration", text: EvaluationText) -> Search:
        forced = [(1, text.bos_id)] if self._bos_twice else []
        assert model.generation_config is not None, "a model that generates has its settings"
        if model.generation_config.forced_eos_token_id is not None:
            forced.append((self._max_length - 1, text.eos_id))
        special = (text.bos_id, text.eos_id, text.pad_id)
        return Search(self._num_beams, self._length_penalty, self._max_length, *special, forced=tuple(forced))

    def _chosen(self, text: EvaluationText) -> list[int]:
        """Places in the split, ascending; the draw depends on the split's size and `num_sentences` alone."""
        if self._num_sentences is None or not text.is_gate:
            return list(range(len(text.references)))
        drawn = torch.randperm(len(text.references), generator=torch.Generator().manual_seed(SUBSET_SEED))
        return sorted(drawn[: self._num_sentences].tolist())

    def _mean_loss(self, model: "BartForConditionalGeneration", text: EvaluationText) -> Tensor:
        """Cross-entropy per counted token over the whole split, whatever the batches."""
        here, totals, count = ranks.here(), [], 0
        share = text.share(here.rank, here.size) if here.size > 1 else text
        for batch in share.loss_batches():
            totals.append(self._loss(model, batch, 0.0)[0].double())
            count += len(batch.counted)
        total = torch.stack(totals).sum() if totals else torch.zeros((), dtype=torch.float64, device=model.device)
        return here.sum_(total) / sum(here.gather(count))

    def _loss(self, model: "BartForConditionalGeneration", batch: TextBatch, smoothing: float) -> tuple[Tensor, Tensor]:
        """(sum of cross-entropies, the decoder's output at the counted tokens, [N, width])."""
        # Masks of four dimensions are taken as they are. Of others transformers asks the device whether all is set,
        # three times a batch, and each time the host waits for all that it has queued.
        num_targets = batch.decoder_input_ids.shape[1]
        is_read = torch.ones(1, 1, num_targets, num_targets, dtype=torch.bool, device=batch.labels.device).tril()
        if self._padding_counts:
            padding = model.config.pad_token_id
            assert padding is not None, "where padding counts, its id is known"
            is_read = is_read & (batch.labels != padding)[:, None, None, :]
        outputs = model.model(
            input_ids=batch.input_ids,
            attention_mask=batch.attention_mask.bool()[:, None, None, :],
            decoder_input_ids=batch.decoder_input_ids,
            decoder_attention_mask=is_read,
            use_cache=False,
        )
        hidden = outputs.last_hidden_state.flatten(0, 1).index_select(0, batch.counted)
        labels = batch.labels.flatten().index_select(0, batch.counted)
        weight, bias = model.lm_head.weight, model.final_logits_bias[0]
        total = token_cross_entropy(hidden, labels, weight, bias, smoothing, self._chunk_tokens)
        return total, hidden


def _values(bleu: Bleu) -> dict[str, float]:
    precisions = {f"bleu_precision_{n}": value for n, value in enumerate(bleu.precisions, start=1)}
    return {
        "bleu": bleu.score,
        **precisions,
        "bleu_brevity_penalty": bleu.brevity_penalty,
        "bleu_length_ratio": bleu.length_ratio,
    }
