"""ResNet for CIFAR by He et al. with parameter-free shortcuts, the one with the paper's 464,154 weights.

Layers carry the names that the literature's checkpoints use (conv1, bn1, layer1.0.conv1, ..., linear).
"""

import torch.nn.functional as F
from torch import Tensor, nn


def resnet32(num_classes: int = 10, blocks_per_stage: int = 5, width: int = 16) -> "ResNet":
    """ResNet-32 at the defaults (464,154 parameters); its smaller relatives at other sizes.

    Args:
        num_classes: size of the output.
        blocks_per_stage: residual blocks in each of the three stages: 6 times this + 2 weighted layers in all.
        width: channels of the first stage; the second has twice, the third four times as many.
    """
    return ResNet(num_classes, blocks_per_stage, width)


class ResNet(nn.Module):
    """Three stages of residual blocks on 32x32 images, global average pooling and one linear layer.

    The running statistics of batch norm are buffers: never pruned, and left alone at a prune, from which they recover
    over the steps to the next evaluation.

    Args: as of `resnet32`.

    Source: He et al. 2016 (arXiv 1512.03385), section 4.2; initialisation of arXiv 1502.01852 (normal, fan-in).
    """

    def __init__(self, num_classes: int, blocks_per_stage: int, width: int) -> None:
        super().__init__()
        self.conv1 = _convolution(3, width)
        self.bn1 = nn.BatchNorm2d(width)  # Deviation 28
        self.layer1 = _stage(width, width, blocks_per_stage)
        self.layer2 = _stage(width, 2 * width, blocks_per_stage)
        self.layer3 = _stage(2 * width, 4 * width, blocks_per_stage)
        self.linear = nn.Linear(4 * width, num_classes)
        for module in self.modules():
            if isinstance(module, (nn.Conv2d, nn.Linear)):
                nn.init.kaiming_normal_(module.weight)

    def forward(self, images: Tensor) -> Tensor:
        """Class scores [N, num_classes] of images [N, 3, H, W]."""
        hidden = F.relu(self.bn1(self.conv1(images)))
        hidden = self.layer3(self.layer2(self.layer1(hidden)))
        return self.linear(hidden.mean((2, 3)))


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions, each with batch norm, and a shortcut without parameters around them (option A).

    Where the block has more channels than its input, it halves the resolution: the shortcut takes every second pixel
    and fills the new channels, half before and half behind the old ones, with zeros.
    """

    def __init__(self, num_inputs: int, num_outputs: int) -> None:
        super().__init__()
        self.num_new_channels = num_outputs - num_inputs
        self.conv1 = _convolution(num_inputs, num_outputs, stride=2 if self.num_new_channels else 1)
        self.bn1 = nn.BatchNorm2d(num_outputs)
        self.conv2 = _convolution(num_outputs, num_outputs)
        self.bn2 = nn.BatchNorm2d(num_outputs)

    def forward(self, inputs: Tensor) -> Tensor:
        """The block's output [N, num_outputs, H', W']."""
        hidden = F.relu(self.bn1(self.conv1(inputs)))
        return F.relu(self.bn2(self.conv2(hidden)) + self._shortcut(inputs))

    def _shortcut(self, inputs: Tensor) -> Tensor:
        if self.num_new_channels == 0:
            return inputs
        before = self.num_new_channels // 2
        return F.pad(inputs[:, :, ::2, ::2], (0, 0, 0, 0, before, self.num_new_channels - before))


def _stage(num_inputs: int, num_outputs: int, num_blocks: int) -> nn.Sequential:
    first = ResidualBlock(num_inputs, num_outputs)
    return nn.Sequential(first, *(ResidualBlock(num_outputs, num_outputs) for _ in range(num_blocks - 1)))


def _convolution(num_inputs: int, num_outputs: int, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(num_inputs, num_outputs, kernel_size=3, stride=stride, padding=1, bias=False)
