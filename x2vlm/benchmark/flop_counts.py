"""FLOPs of a model's parts: multiply-adds of their matrix products, convolutions and attention, by fvcore.

Shape letters: B pairs, U contexts, N patches, L tokens, M masked tokens, D width, H heads.
"""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from itertools import product
from typing import Any

import torch
from fvcore.nn import FlopCountAnalysis
from fvcore.nn.jit_handles import get_shape
from torch import Tensor, nn

from x2vlm.building import ConfigError
from x2vlm.models.layers.attention import resolve
from x2vlm.models.outputs import Context, TextStates
from x2vlm.registry import ATTENTION_BACKENDS


@dataclass(frozen=True)
class Amount:
    """Size of the input of one forward pass.

    Attributes:
        pairs: Texts, each with its context.
        images: Distinct images.
        tokens: Of a text.
        masks: Masked tokens of a text.
    """

    pairs: int = 1
    images: int = 1
    tokens: int = 12
    masks: int = 6


def flops_by_part(model: Any, amount: Amount) -> dict[str, int]:
    """Multiply-adds of one forward pass through each tower and each head.

    Args:
        model: With any weights.
        amount: Size of the input. Pairs are distributed evenly over the images, whose keys and values the fusion
            encoder projects once.

    Raises:
        ConfigError: If the vision encoder does not say its ``image_size``.
    """
    device, width = model.device, getattr(model.fusion_encoder, "width", None)
    flops: dict[str, int] = {}
    real = torch.ones(amount.pairs, amount.tokens, dtype=torch.bool, device=device)
    if model.vision_encoder is not None:
        size = getattr(model.vision_encoder, "image_size", None)
        if size is None:
            kind = type(model.vision_encoder).__name__
            raise ConfigError(
                f"{kind} does not say its image_size, so the size of its images is not known.", "vision_encoder"
            )
        size = (size, size) if isinstance(size, int) else tuple(size)
        images = torch.zeros(amount.images, 3, *size, device=device)
        flops["vision_encoder"] = count(_First(model.vision_encoder), (images,))
    if model.text_encoder is not None:
        ids = torch.ones(amount.pairs, amount.tokens, dtype=torch.long, device=device)
        flops["text_encoder"] = count(_Text(model.text_encoder), (ids, real))
    if model.fusion_encoder is not None and model.vision_encoder is not None:
        rows, columns = model.vision_encoder.grid
        context = torch.zeros(amount.images, rows * columns, model.vision_encoder.width, device=device)
        embeds = torch.zeros(amount.pairs, amount.tokens, width, device=device)
        owner = torch.arange(amount.pairs, device=device) % amount.images
        flops["fusion_encoder"] = count(_Fusion(model.fusion_encoder), (embeds, real, context, owner))
    for name, objective in model.objectives.items():
        if hasattr(objective, "head"):
            flops[f"objectives.{name}"] = count(objective.head, (torch.zeros(amount.pairs, width, device=device),))
        elif name in ("mlm", "caption"):
            hidden = torch.zeros(amount.pairs * amount.masks, width, device=device)
            words = model.text_encoder.word_embeddings
            flops[f"objectives.{name}"] = count(_Words(objective), (hidden, words))
    return flops


def count(module: nn.Module, inputs: tuple[Tensor, ...]) -> int:
    """Multiply-adds of one forward pass, norms and activations left out."""
    _try_backends(inputs[0].device.type)
    training = module.training
    module.eval()
    try:
        with torch.no_grad():
            analysis = FlopCountAnalysis(module, inputs).unsupported_ops_warnings(False).tracer_warnings("none")
            analysis = analysis.uncalled_modules_warnings(False)
            analysis.set_op_handle("aten::scaled_dot_product_attention", attention_flops)
            analysis.set_op_handle("aten::layer_norm", _nothing)
            return int(analysis.total())
    finally:
        module.train(training)


@cache
def _try_backends(device: str) -> None:
    """Choose attention backends before tracing, which cannot run them for trial."""
    for name, masked, biased in product(("auto", *ATTENTION_BACKENDS.module_dict), (True, False), (True, False)):
        with suppress(ValueError):  # not available here, so it is not called
            resolve(name, device, torch.float32, masked, biased, False)


def attention_flops(inputs: Sequence[Any], _: Sequence[Any]) -> int:
    """Multiply-adds of attention: queries with keys, weights with values. Masked keys are counted too."""
    (batch, heads, queries, width), keys = get_shape(inputs[0]), get_shape(inputs[1])[2]
    return 2 * batch * heads * queries * keys * width


def _nothing(inputs: Sequence[Any], outputs: Sequence[Any]) -> int:
    """0 for norms, which are no matrix products; by default fvcore counts 5 for each number."""
    return 0


class _First(nn.Module):
    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, images: Tensor) -> Tensor:
        return self.net(images)[0]


class _Text(_First):
    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        return self.net(ids, mask)


class _Fusion(_First):
    def forward(self, embeds: Tensor, text_mask: Tensor, tokens: Tensor, owner: Tensor) -> Tensor:
        mask = torch.ones(len(embeds), tokens.shape[1], dtype=torch.bool, device=embeds.device)
        return self.net(
            TextStates(embeds, text_mask), Context(tokens, owner, mask, tokens.mean(dim=1)[owner], sees_whole=True)
        )


class _Words(_First):
    def forward(self, hidden: Tensor, words: Tensor) -> Tensor:
        return self.net.score(hidden, words)
