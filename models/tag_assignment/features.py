"""One semantic feature per salient instance (Fan et al. 2018, section 3.2)."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from torch import Tensor, nn

from models.backbones import Backbone, build_backbone
from models.ops.boxes import BoxTuple
from models.ops.colours import MEAN_COLOUR
from models.ops.crops import cut_mask, cut_out, window_of


class FeatureNetwork(nn.Module):
    """A backbone and the mean over the cells of its deepest features."""

    def __init__(self, backbone: Backbone) -> None:
        """Take a backbone as it is."""
        super().__init__()
        self.backbone = backbone
        self.channels = backbone.channels[2]

    def forward(self, crops: Tensor) -> Tensor:
        """RGB in [0, 1] (B, 3, side, side) -> features (B, channels)."""
        return self.backbone(crops)[2].mean((2, 3))  # type: ignore[no-any-return]


@dataclass(frozen=True)
class FeatureSpec:
    """What a feature network is made of, and what it sees of an instance.

    Attributes:
        backbone: a name of models.backbones.
        width: channel multiplier.
        output_stride: pixels per feature.
        side: of a crop, pixels. Paper: 224.
        masked: whether what is not the instance is painted in the mean colour. Paper: no.
    """

    backbone: str
    width: float
    output_stride: int
    side: int
    masked: bool

    def build(self) -> FeatureNetwork:
        """The network with random weights; raises as `build_backbone`."""
        built = build_backbone(self.backbone, output_stride=self.output_stride, width=self.width)
        return FeatureNetwork(built)

    def crop(
        self, image: npt.NDArray[np.uint8], mask: npt.NDArray[np.bool_], box: BoxTuple
    ) -> npt.NDArray[np.uint8]:
        """What the network sees of an instance: its box, each side by its own factor.

        Args:
            image: RGB [H, W, 3].
            mask: [H, W] of the instance.
            box: of the instance.

        Returns:
            RGB [side, side, 3].
        """
        window = window_of(box, mask.shape, margin=0)
        crop = cut_out(image, window, self.side)
        if not self.masked:
            return crop
        share = cut_mask(mask, window, self.side)[:, :, None] / np.float32(255)
        mean = np.array(MEAN_COLOUR, dtype=np.float32) * 255
        return np.rint(crop * share + mean * (1 - share)).astype(np.uint8)
