"""The same network in the hands of CTranslate2, an engine made for the search alone, as a yardstick for ours.

This project does not need it: where it is not installed (`pip install ctranslate2`) it is left out, which is said. Its
rules are not quite ours: it is done with a sentence when K hypotheses have ended, whatever the running ones promise.
"""

import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from sparsity.data.texts.seq2seq import EvaluationText
from sparsity.run.workspace import Workspace
from sparsity.special_tokens import BASE_TOKENS, BOS_ID, EOS_ID, PAD_ID

if TYPE_CHECKING:
    from transformers import BartForConditionalGeneration

WHY_LEFT_OUT = (
    "CTranslate2 is held against our search on a CPU in fp32 where it is installed (pip install ctranslate2), which is "
    "not so here: it is left out"
)


def can_search(work: Workspace) -> bool:
    """Whether CTranslate2 is there and the searches are those in which it computes what ours does."""
    is_installed = importlib.util.find_spec("ctranslate2") is not None
    return is_installed and work.device.type == "cpu" and work.settings.machine.precision == "fp32"


def engine_search(
    work: Workspace, model: "BartForConditionalGeneration", text: EvaluationText
) -> Callable[[], list[str]]:
    """A search of all sentences, in the same batches; its texts come in the order of the split.

    What it converts, its weights and the tokens of the sources, is converted before and is not timed.

    Args:
        work: the experiment, whose beams are searched.
        model: the network, in evaluation mode.
        text: the sentences, decoded as numbered words.
    """
    from ctranslate2 import Translator

    words = vocabulary(model.config.vocab_size)
    folder = work.directory / "ctranslate2"
    convert(model, words, folder)
    translator = Translator(str(folder), compute_type="float32", intra_threads=torch.get_num_threads())
    batches = [
        (places.tolist(), [[words[token] for token in row[kept]] for row, kept in zip(ids, mask.bool(), strict=True)])
        for places, ids, mask in text
    ]
    task = work.settings.task
    beams = {"beam_size": task["num_beams"], "length_penalty": task["length_penalty"]}
    lengths = {"max_decoding_length": task["max_length"] - 1, "min_decoding_length": 0, "max_input_length": 0}

    def search() -> list[str]:
        lines: dict[int, str] = {}
        for places, sources in batches:
            found = translator.translate_batch(sources, **beams, **lengths)
            lines |= zip(places, (" ".join(each.hypotheses[0]) for each in found), strict=True)
        return [lines[place] for place in range(len(text.references))]

    return search


def vocabulary(size: int) -> list[str]:
    """A name for each token, those of `numbered_words` behind the special ones."""
    return [*BASE_TOKENS, *(f"w{token}" for token in range(len(BASE_TOKENS), size))]


@torch.no_grad()
def convert(model: "BartForConditionalGeneration", words: list[str], folder: Path) -> None:
    """Write the network as CTranslate2 reads it. Its own converter asks for settings that transformers 5 dropped."""
    from ctranslate2.converters.transformers import BartLoader
    from ctranslate2.specs import Activation, TransformerSpec

    config, loader = model.config, BartLoader()
    spec: Any = TransformerSpec.from_config(
        (config.encoder_layers, config.decoder_layers),
        config.encoder_attention_heads,
        pre_norm=False,
        activation=Activation[str(config.activation_function).upper()],
        layernorm_embedding=True,
    )
    loader.set_encoder(spec.encoder, model.model.encoder)
    loader.set_decoder(spec.decoder, model.model.decoder)
    loader.set_linear(spec.decoder.projection, model.lm_head)
    spec.config.bos_token, spec.config.eos_token, spec.config.unk_token = (words[i] for i in (BOS_ID, EOS_ID, PAD_ID))
    spec.config.decoder_start_token = words[BOS_ID]
    spec.register_source_vocabulary(words)
    spec.register_target_vocabulary(words)
    spec.validate()
    spec.optimize()
    folder.mkdir(parents=True)
    spec.save(str(folder))
