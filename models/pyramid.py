"""Feature maps of a backbone from stride 2 on, for decoders and detectors."""

import torch
from torch import Tensor, nn

from models.backbones import Backbone

#: The modules whose input is the backbone's map of stride 2 and of stride 4, by name of backbone.
SHALLOW = {
    "resnet38d": ("b3", "b4"),
    "resnet18": ("maxpool", "layer2.0.conv1"),
    "resnet50": ("maxpool", "layer2.0.conv1"),
    "resnet101": ("maxpool", "layer2.0.conv1"),
    "mobilenet_v2": ("features.2.conv.0.0", "features.4.conv.0.0"),
}


class Pyramid(nn.Module):
    """A backbone that also gives its two shallow maps.

    Attributes:
        backbone: owns the weights.
        strides: pixels per feature, a number per level, shallow to deep.
        channels: of each level.
        map_strides: the same of the five maps before those of one stride are joined.
        map_channels: likewise.
    """

    def __init__(self, backbone: Backbone, name: str) -> None:
        """Look into `backbone`, whose name in models.backbones is `name`."""
        super().__init__()
        self.backbone = backbone
        self.shallow = SHALLOW[name]
        side, was_training = 64, backbone.training
        with torch.no_grad():
            maps = self.eval().maps(torch.zeros(1, 3, side, side))
            levels = _joined(maps)
        self.train(was_training)
        self.map_strides = tuple(side // one.shape[-1] for one in maps)
        self.map_channels = tuple(one.shape[1] for one in maps)
        self.strides = tuple(side // level.shape[-1] for level in levels)
        self.channels = tuple(level.shape[1] for level in levels)

    def forward(self, images: Tensor) -> list[Tensor]:
        """RGB in [0, 1] (B, 3, H, W) -> (B, C_l, H / s_l, W / s_l) per level.

        The two shallow maps, then the taps; those of one stride side by side as one level. H and W
        are multiples of the largest stride.
        """
        return _joined(self.maps(images))

    def maps(self, images: Tensor) -> list[Tensor]:
        """The five maps by themselves, shallow to deep; arguments as `forward`."""
        seen: list[Tensor] = []
        modules = dict(self.backbone.body.named_modules())

        def note(_: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            seen.append(inputs[0])

        handles = [modules[name].register_forward_pre_hook(note) for name in self.shallow]
        try:
            bright = (images - self.backbone.mean) / self.backbone.std
            taps = self.backbone.body(bright).values()
        finally:
            for handle in handles:
                handle.remove()
        return [*seen, *taps]

    def freeze_shallow(self) -> None:
        """Leave the weights before stride 4 as they are: edges are edges on all photographs."""
        last = self.shallow[1].split(".conv")[0]
        for name, parameter in self.backbone.body.named_parameters():
            if name.startswith(last):
                return
            parameter.requires_grad_(False)


def _joined(maps: list[Tensor]) -> list[Tensor]:
    levels: dict[int, list[Tensor]] = {}
    for one in maps:
        levels.setdefault(one.shape[-1], []).append(one)
    return [torch.cat(own, 1) for own in levels.values()]
