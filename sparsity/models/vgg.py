"""torchvision's VGG-16, whose 138,357,544 parameters are the paper's, and narrower ones of the same build.

Parameters carry torchvision's names, so that its published weights load without renaming.
"""

import torch
from torch import nn
from torchvision.models.vgg import VGG, cfgs, make_layers

MAP_SIZE = 7  # of the last feature map at the published input size, and what the classifier expects


def vgg16(
    num_classes: int = 1000,
    layers: list[int | str] | None = None,
    classifier_width: int = 4096,
    dropout: float = 0.0,
) -> VGG:
    """VGG-16 at the defaults, initialised as torchvision initialises it; nothing is downloaded.

    Images are square, of 7 * 2 ** (number of poolings) pixels: 224 for VGG-16. At that size torchvision's adaptive
    average pooling is the identity, and is left out: on a GPU its gradient has no deterministic implementation.

    Args:
        num_classes: size of the output.
        layers: channels of the 3x3 convolutions, "M" for a 2x2 max-pooling; None is VGG-16's (configuration D).
        classifier_width: units of the two hidden linear layers.
        dropout: probability after each of them; the authors remove it in the pruning phase. # Deviation 20

    Source: Simonyan and Zisserman 2015 (arXiv 1409.1556), configuration D.
    """
    layers = layers or cfgs["D"]
    features = make_layers(layers)
    with torch.device("meta"):  # torchvision fixes the size of its classifier, which is replaced below
        model = VGG(features, init_weights=False)
    model.avgpool = nn.Identity()
    num_features = MAP_SIZE**2 * [channels for channels in layers if isinstance(channels, int)][-1]
    model.classifier = nn.Sequential(
        nn.Linear(num_features, classifier_width),
        nn.ReLU(inplace=True),
        nn.Dropout(dropout),
        nn.Linear(classifier_width, classifier_width),
        nn.ReLU(inplace=True),
        nn.Dropout(dropout),
        nn.Linear(classifier_width, num_classes),
    )
    _initialise(model)
    return model


def _initialise(model: nn.Module) -> None:
    """He's initialisation by fan-out for convolutions, a normal of 0.01 for linear layers, biases 0."""
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        elif isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, 0, 0.01)
    for name, parameter in model.named_parameters():
        if name.endswith("bias"):
            nn.init.zeros_(parameter)
