"""ResNet-38 of the PSA and SEAM line (Wu et al. 2016, "Wider or deeper"), stride 8.

A pre-activation wide residual network. Parts carry the names of the published weights (conv1a, b2,
b2_1, ... b7, bn7 and, within a block, branch1 for the shortcut), so that those load strictly.

Wu et al.: https://arxiv.org/abs/1611.10080.
"""

from collections.abc import Iterator

from torch import Tensor, nn

#: name, blocks, middle and output channels, stride, dilation of the first convolution, of the rest
_STAGES = (
    ("b2", 3, 128, 128, 2, 1, 1),
    ("b3", 3, 256, 256, 2, 1, 1),
    ("b4", 6, 512, 512, 2, 1, 1),
    ("b5", 3, 512, 1024, 1, 1, 2),
)


class _Block(nn.Module):
    """Two 3x3 convolutions, each after batch norm and ReLU."""

    def __init__(
        self, inputs: int, middle: int, outputs: int, *, stride: int, first: int, second: int
    ) -> None:
        super().__init__()
        self.bn_branch2a = nn.BatchNorm2d(inputs)
        self.conv_branch2a = _conv(inputs, middle, 3, stride=stride, dilation=first)
        self.bn_branch2b1 = nn.BatchNorm2d(middle)
        self.conv_branch2b1 = _conv(middle, outputs, 3, dilation=second)
        self.conv_branch1 = None
        if inputs != outputs or stride != 1:
            self.conv_branch1 = _conv(inputs, outputs, 1, stride=stride)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """(B, inputs, H, W) -> (B, outputs, H / stride, W / stride) and x after norm and ReLU."""
        active = self.bn_branch2a(x).relu()
        branch = self.bn_branch2b1(self.conv_branch2a(active)).relu()
        branch = self.conv_branch2b1(branch)
        return (x if self.conv_branch1 is None else self.conv_branch1(active)) + branch, active


class _Bottleneck(nn.Module):
    """1x1, 3x3 dilated, 1x1, with dropout before the second and third."""

    def __init__(self, inputs: int, outputs: int, *, dilation: int, dropout: float) -> None:
        super().__init__()
        quarter, half = outputs // 4, outputs // 2
        self.bn_branch2a = nn.BatchNorm2d(inputs)
        self.conv_branch2a = _conv(inputs, quarter, 1)
        self.bn_branch2b1 = nn.BatchNorm2d(quarter)
        self.conv_branch2b1 = _conv(quarter, half, 3, dilation=dilation)
        self.bn_branch2b2 = nn.BatchNorm2d(half)
        self.conv_branch2b2 = _conv(half, outputs, 1)
        self.conv_branch1 = _conv(inputs, outputs, 1)
        self.dropout = nn.Dropout2d(dropout)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """(B, inputs, H, W) -> (B, outputs, H, W) and x after norm and ReLU."""
        active = self.bn_branch2a(x).relu()
        branch = self.dropout(self.bn_branch2b1(self.conv_branch2a(active)).relu())
        branch = self.dropout(self.bn_branch2b2(self.conv_branch2b1(branch)).relu())
        shortcut: Tensor = self.conv_branch1(active)
        return shortcut + self.conv_branch2b2(branch), active


def _conv(
    inputs: int, outputs: int, kernel: int, *, stride: int = 1, dilation: int = 1
) -> nn.Conv2d:
    padding = dilation * (kernel // 2)
    conv = nn.Conv2d(inputs, outputs, kernel, stride, padding, dilation, bias=False)
    nn.init.kaiming_normal_(conv.weight, mode="fan_out", nonlinearity="relu")
    return conv


class ResNet38(nn.Module):
    """The network without its classifier.

    Attributes:
        channels: of conv4, conv5 and conv6; 512, 1024 and 4096 at width 1.
    """

    def __init__(self, width: float = 1.0) -> None:
        """Build it with random weights; `width` scales every channel count (to a multiple of 4)."""
        super().__init__()

        def scaled(channels: int) -> int:
            return max(round(channels * width / 4), 1) * 4

        self.conv1a = _conv(3, scaled(64), 3)
        inputs = scaled(64)
        for name, blocks, middle, outputs, stride, first, second in _STAGES:
            for index in range(blocks):
                block = _Block(
                    inputs,
                    scaled(middle),
                    scaled(outputs),
                    stride=stride if index == 0 else 1,
                    first=first if index == 0 else second,
                    second=second,
                )
                self.add_module(name if index == 0 else f"{name}_{index}", block)
                inputs = scaled(outputs)
        self.b6 = _Bottleneck(inputs, scaled(2048), dilation=4, dropout=0.3)
        self.b7 = _Bottleneck(scaled(2048), scaled(4096), dilation=4, dropout=0.5)
        self.bn7 = nn.BatchNorm2d(scaled(4096))
        self.channels = (scaled(512), scaled(1024), scaled(4096))

    def _blocks(self) -> Iterator[tuple[str, nn.Module]]:
        for name, part in self.named_children():
            if isinstance(part, (_Block, _Bottleneck)):
                yield name, part

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """Normalised RGB (B, 3, H, W) -> the taps (B, C_k, ceil(H / 8), ceil(W / 8)).

        conv4 is the input of b5 and conv5 that of b6, after batch norm and ReLU; conv6 the output.
        """
        taps = {}
        x = self.conv1a(x)
        for name, block in self._blocks():
            x, active = block(x)
            if name in ("b5", "b6"):
                taps["conv4" if name == "b5" else "conv5"] = active
        taps["conv6"] = self.bn7(x).relu()
        return taps
