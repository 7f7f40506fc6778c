"""ResNet-38 of the PSA and SEAM line (Wu et al. 2016, "Wider or deeper"), stride 8.

Pre-activation wide residual network: conv1a, b2 x3 (128, stride 2), b3 x3 (256, stride 2), b4 x6
(512, stride 2), b5 x3 (512 -> 1024, dilation 2), bottlenecks b6 (2048, dilation 4) and b7 (4096,
dilation 4), then batch norm and ReLU. Taps: input of b5 (conv4), input of b6 (conv5), output
(conv6), each after batch norm and ReLU. `width` scales every channel count.
"""

from torch import Tensor, nn


class _Block(nn.Module):
    """Two 3x3 convolutions before which the input is normalised."""

    def __init__(
        self, inputs: int, middle: int, outputs: int, *, stride: int, first: int, second: int
    ) -> None:
        super().__init__()
        self.norm1 = nn.BatchNorm2d(inputs)
        self.conv1 = nn.Conv2d(inputs, middle, 3, stride, padding=first, dilation=first, bias=False)
        self.norm2 = nn.BatchNorm2d(middle)
        self.conv2 = nn.Conv2d(middle, outputs, 3, padding=second, dilation=second, bias=False)
        same = inputs == outputs and stride == 1
        self.skip = None if same else nn.Conv2d(inputs, outputs, 1, stride, bias=False)
        self.relu = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        """(B, inputs, H, W) -> (B, outputs, H / stride, W / stride)."""
        y = self.relu(self.norm1(x))
        branch = self.conv2(self.relu(self.norm2(self.conv1(y))))
        return (x if self.skip is None else self.skip(y)) + branch


class _Bottleneck(nn.Module):
    """1x1, 3x3 dilated, 1x1, with dropout before the second and third."""

    def __init__(self, inputs: int, outputs: int, *, dilation: int, dropout: float) -> None:
        super().__init__()
        self.norm1 = nn.BatchNorm2d(inputs)
        self.skip = nn.Conv2d(inputs, outputs, 1, bias=False)
        self.conv1 = nn.Conv2d(inputs, outputs // 4, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(outputs // 4)
        self.conv2 = nn.Conv2d(
            outputs // 4, outputs // 2, 3, padding=dilation, dilation=dilation, bias=False
        )
        self.norm3 = nn.BatchNorm2d(outputs // 2)
        self.conv3 = nn.Conv2d(outputs // 2, outputs, 1, bias=False)
        self.drop = nn.Dropout2d(dropout)
        self.relu = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        """(B, inputs, H, W) -> (B, outputs, H, W)."""
        y = self.relu(self.norm1(x))
        branch = self.conv1(y)
        branch = self.conv2(self.drop(self.relu(self.norm2(branch))))
        branch = self.conv3(self.drop(self.relu(self.norm3(branch))))
        skip: Tensor = self.skip(y)
        return skip + branch
