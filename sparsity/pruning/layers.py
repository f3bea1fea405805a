"""The layers of a network whose weights have inputs and outputs: what a method of gates or of noise works on."""

from collections import Counter

from torch import Tensor, nn


def weighted_layers(model: nn.Module) -> dict[str, nn.Linear | nn.Conv2d]:
    """Module name -> linear layer or convolution, of those whose trainable weight is no other module's.

    So a Transformer's embedding, which is its head as well, is none; the weight's own name is `<module name>.weight`.
    """
    owners: Counter[Tensor] = Counter()
    for module in model.modules():
        owners.update(module.parameters(recurse=False))
    return {
        name: layer
        for name, layer in model.named_modules()
        if isinstance(layer, (nn.Linear, nn.Conv2d)) and layer.weight.requires_grad and owners[layer.weight] == 1
    }
