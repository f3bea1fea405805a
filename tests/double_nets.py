"""Networks of the experiments in float64, where what several ranks sum in another order makes no mask another one."""

from torch import Tensor, nn

from sparsity.models.lenet import LeNet5
from sparsity.models.transformer import transformer
from sparsity.models.vgg import vgg16


class OfImages(nn.Module):
    """A network in float64, of images in float32."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network.double()

    def forward(self, images: Tensor) -> Tensor:
        """Class scores."""
        scores: Tensor = self.network(images.double())
        return scores


def lenet5(num_classes: int, conv_relu: bool) -> nn.Module:
    """LeNet-5."""
    return OfImages(LeNet5(num_classes, conv_relu))


def vgg(num_classes: int, layers: list[int | str], classifier_width: int, dropout: float) -> nn.Module:
    """VGG."""
    return OfImages(vgg16(num_classes, layers, classifier_width, dropout))


def double_transformer(
    vocabulary_size: int, num_layers: int, width: int, ffn_width: int, num_heads: int, dropout: float
) -> nn.Module:
    """The Transformer."""
    return transformer(vocabulary_size, num_layers, width, ffn_width, num_heads, dropout).double()
