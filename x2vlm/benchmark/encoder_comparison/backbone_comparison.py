"""Backbones of timm through the adapter: one of every family, and whether its tokens follow the grid."""

import warnings
from collections import defaultdict
from dataclasses import dataclass

import timm
import torch
from timm.models import _registry
from torch import nn

from x2vlm.models.vision.grid_check import corner_centres, corner_images, follows_grid
from x2vlm.models.vision.timm import TimmVisionEncoder

_SMALL = ("test_", "nano", "femto", "atto", "pico", "micro", "tiny", "xxs", "_xs", "_t0", "_s0", "mini", "small", "b0")
_SIZES = (64, 128, 256, 224, 240, 299)
LARGEST = 200_000_000  # parameters


@dataclass(frozen=True)
class Backbone:
    """One family of timm.

    Attributes:
        family: timm's name of its module.
        name: The model that was tried.
        verdict: ``follows the grid``, ``not seen to follow the grid``, ``refused`` or ``not tried``.
        image_size: The smallest of a few sizes that it takes; 0 where it was not built.
        grid: Rows and columns of tokens.
        width: Of a token.
        reason: Why it is refused or was not tried.
    """

    family: str
    name: str
    verdict: str
    image_size: int = 0
    grid: tuple[int, int] = (0, 0)
    width: int = 0
    reason: str = ""


def families() -> dict[str, list[str]]:
    """The names of timm's models by family, those that sound small first."""
    found = defaultdict(list)
    for name in timm.list_models():
        found[_registry._model_to_module[name]].append(name)
    rank = {small: place for place, small in enumerate(_SMALL)}
    return {
        family: sorted(
            names, key=lambda name: (min((rank[s] for s in _SMALL if s in name), default=99), len(name), name)
        )
        for family, names in sorted(found.items())
    }


def try_family(family: str, names: list[str]) -> Backbone:
    """Build the smallest of a family's first models and look where its tokens come from; never raises for timm."""
    with warnings.catch_warnings(), torch.random.fork_rng(devices=[]):
        warnings.simplefilter("ignore")
        torch.manual_seed(0)
        size, name = min((_parameters(name), name) for name in names[:4])
        if size > LARGEST:
            return Backbone(family, name, "not tried", reason=f"{size / 1e6:.0f} million parameters")
        sides, reasons = [*_SIZES, timm.get_pretrained_cfg(name).input_size[-1]], []
        for side in sides:
            try:
                encoder = TimmVisionEncoder(name, image_size=side)
            except Exception as error:  # timm is foreign code: what it does not take is listed
                reasons.append(f"{type(error).__name__}: {' '.join(str(error).split())[:200]}")
                continue
            if min(encoder.grid) > 3:  # in smaller ones every token has seen the whole image
                verdict = "follows the grid" if follows_image(encoder) else "not seen to follow the grid"
                return Backbone(family, name, verdict, side, encoder.grid, encoder.width)
    return Backbone(family, name, "refused", reason=reasons[-1] if reasons else "its grids are too small to tell")


def follows_image(encoder: TimmVisionEncoder) -> bool:
    """Whether a change in another corner of the image moves what changes of the tokens there, by rows and columns.

    Fresh batch norms get the statistics of random images first: without, numbers vanish in deep networks.
    """
    _settle_norms(encoder)
    with torch.no_grad():
        tokens = torch.cat([encoder(image[None])[0] for image in corner_images(encoder.image_size)])
    return follows_grid(corner_centres(tokens, encoder.grid))


def _settle_norms(encoder: TimmVisionEncoder) -> None:
    for module in encoder.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.momentum = 1.0
    with torch.no_grad():
        encoder.train()(torch.randn(8, 3, *encoder.image_size, generator=torch.Generator().manual_seed(1)))
    encoder.eval()


def _parameters(name: str) -> int:
    with torch.device("meta"):
        try:
            return sum(parameter.numel() for parameter in timm.create_model(name, num_classes=0).parameters())
        except Exception:  # some cannot be made without numbers
            return LARGEST
