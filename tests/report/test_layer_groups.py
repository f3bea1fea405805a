"""Layers are counted in the paper's columns."""

from pathlib import Path

import pytest
import torch
from transformers import BartConfig, BartForConditionalGeneration

from sparsity.models.resnet import resnet32
from sparsity.records import Layer
from sparsity.report.layer_groups import groups_of_our_own, residual_by_group
from sparsity.report.paper import load_paper


def layer(parameter: str, total: int, kept: int) -> Layer:
    return Layer("last", parameter, "1", total, kept, 1 - kept / total)


def test_weights_and_biases_of_a_layer_are_one_column() -> None:
    layers = [layer("conv1.weight", 90, 20), layer("conv1.bias", 10, 5), layer("fc2.weight", 10, 1)]
    assert residual_by_group("lenet5", layers) == {"Conv1": 0.25, "FC2": 0.1}


def test_every_parameter_of_resnet32_is_in_a_stage_or_at_its_ends() -> None:
    layers = [layer(name, p.numel(), p.numel() // 2) for name, p in resnet32().named_parameters()]
    groups = residual_by_group("resnet32", layers)
    assert list(groups) == ["Stem", "Stage 1", "Stage 2", "Stage 3", "Classifier"]
    assert groups["Stage 2"] == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("parameter", "group"),
    [
        ("conv1.weight", "Stem"),
        ("bn1.weight", "Stem"),
        ("layer1.0.conv1.weight", "Stage 1"),
        ("layer1.0.bn1.weight", "Stage 1"),
        ("layer2.0.conv1.weight", "Stage 2"),
        ("layer3.4.bn2.bias", "Stage 3"),
        ("linear.bias", "Classifier"),
    ],
)
def test_a_parameter_of_resnet32_counts_in_its_own_part(parameter: str, group: str) -> None:
    assert list(residual_by_group("resnet32", [layer(parameter, 10, 1)])) == [group]


@pytest.mark.parametrize(
    ("parameter", "group"),
    [
        ("encoder.layers.0.self_attn.k_proj.weight", "Encoder attention"),
        ("encoder.layers.1.self_attn_layer_norm.weight", "Encoder attention"),
        ("encoder.layers.0.fc1.weight", "Encoder FFN"),
        ("encoder.layers.0.final_layer_norm.bias", "Encoder FFN"),
        ("decoder.layers.0.self_attn.out_proj.bias", "Decoder attention"),
        ("decoder.layers.0.self_attn_layer_norm.weight", "Decoder attention"),
        ("decoder.layers.1.encoder_attn.q_proj.weight", "Decoder attention"),
        ("decoder.layers.1.encoder_attn_layer_norm.bias", "Decoder attention"),
        ("decoder.layers.0.fc2.weight", "Decoder FFN"),
        ("decoder.layers.0.final_layer_norm.weight", "Decoder FFN"),
        ("encoder.embed_positions.weight", "Embedding and head"),
        ("decoder.layernorm_embedding.weight", "Embedding and head"),
        ("shared.weight", "Embedding and head"),
    ],
)
def test_a_parameter_of_a_transformer_counts_in_its_own_block(parameter: str, group: str) -> None:
    assert next(iter(residual_by_group("transformer", [layer(f"model.{parameter}", 10, 1)]))) == group


@pytest.mark.parametrize(
    ("parameter", "group"), [("features.28.weight", "Convolutional"), ("classifier.6.bias", "Fully connected")]
)
def test_a_parameter_of_vgg16_counts_in_its_own_half(parameter: str, group: str) -> None:
    assert list(residual_by_group("vgg16", [layer(parameter, 10, 1)])) == [group]


def test_a_model_without_a_rule_has_no_columns() -> None:
    assert residual_by_group("perceptron", [layer("conv1.weight", 10, 1)]) == {}


def test_a_parameter_outside_all_columns_is_an_error() -> None:
    with pytest.raises(ValueError, match=r"head.weight of lenet5 is in no column .*conv1\.\*.*add a rule"):
        residual_by_group("lenet5", [layer("head.weight", 10, 1)])


def transformer(kept: int) -> list[Layer]:
    """The Taskmaster-1 model's layers with so many weights kept in each."""
    config = BartConfig(
        vocab_size=32000,
        d_model=256,
        encoder_layers=2,
        decoder_layers=2,
        encoder_attention_heads=4,
        decoder_attention_heads=4,
        encoder_ffn_dim=256,
        decoder_ffn_dim=256,
    )
    with torch.device("meta"):
        model = BartForConditionalGeneration(config)
    return [layer(name, parameter.numel(), kept) for name, parameter in model.named_parameters()]


def test_a_transformers_columns_hold_their_blocks_and_norms() -> None:
    layers = transformer(kept=1)
    assert sum(each.total for each in layers) == 10_828_800
    attention = 4 * (256 * 256 + 256) + 2 * 256  # four projections with biases, and the layer norm
    ffn = 2 * (256 * 256 + 256) + 2 * 256
    embedding, around = 32000 * 256, 2 * 1026 * 256 + 2 * 2 * 256  # both position tables, both norms
    assert residual_by_group("transformer", layers) == {
        "Encoder attention": 2 * 10 / (2 * attention),  # ten tensors a block
        "Decoder attention": 4 * 10 / (4 * attention),
        "Encoder FFN": 2 * 6 / (2 * ffn),
        "Decoder FFN": 2 * 6 / (2 * ffn),
        "Embedding and head": (2 * 1 + 6) / (2 * embedding + around),  # as the authors count: embedding and tied head
        "Embedding and head, once": 7 / (embedding + around),
    }


@pytest.mark.parametrize("experiment", ["transformer_wmt14", "transformer_taskmaster1"])
def test_a_transformers_columns_are_the_papers_and_one_of_our_own(experiment: str) -> None:
    papers = {paper.experiment: paper for paper in load_paper(Path(__file__).parents[2] / "results" / "paper")}
    groups = residual_by_group("transformer", transformer(kept=0))
    assert set(groups) == {*papers[experiment].results.groups, *groups_of_our_own("transformer")}
