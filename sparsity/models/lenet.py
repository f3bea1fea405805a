"""LeNet-5, the Caffe variant 20-50-500-10, the only one with the paper's 431,080 parameters."""

import torch.nn.functional as F
from torch import Tensor, nn


class LeNet5(nn.Module):
    """Two 5x5 convolutions and two linear layers, ReLU, 2x2 max-pooling, no dropout.

    The paper's prose describes other sizes (6/10 filters, 120-84-10), which contradict its own total and the columns
    of its Table 2: Conv1, Conv2, FC1, FC2.

    Args:
        num_classes: size of the output.
        conv_relu: whether a ReLU follows each convolution. Caffe's own has none there, nor have networks trained with
            it, such as the one that Dynamic Network Surgery (2016) published.

    Source: Caffe's `lenet` and the paper's section 5.2 and Table 2.
    """

    def __init__(self, num_classes: int = 10, conv_relu: bool = True) -> None:
        super().__init__()
        self.conv_relu = conv_relu
        self.conv1 = nn.Conv2d(1, 20, kernel_size=5)  # Deviation 3
        self.conv2 = nn.Conv2d(20, 50, kernel_size=5)
        self.fc1 = nn.Linear(50 * 4 * 4, 500)
        self.fc2 = nn.Linear(500, num_classes)

    def forward(self, images: Tensor) -> Tensor:
        """Class scores [N, num_classes] of images [N, 1, 28, 28]."""
        # ReLU after the pooling: the same values and gradients as before it, on a quarter of the elements
        hidden = self._after_convolution(F.max_pool2d(self.conv1(images), 2))
        hidden = self._after_convolution(F.max_pool2d(self.conv2(hidden), 2))
        hidden = F.relu(self.fc1(hidden.flatten(1)))
        return self.fc2(hidden)

    def _after_convolution(self, hidden: Tensor) -> Tensor:
        return F.relu(hidden) if self.conv_relu else hidden
