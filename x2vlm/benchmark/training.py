"""Training steps that are measured, whole and growing part by part."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from x2vlm.benchmark.plain import PlainPath
from x2vlm.benchmark.sizes import MASKS, OBJECTIVES, Size, image_batch, make_model, region_batch
from x2vlm.benchmark.works import CAPTION_TOKENS, Run, Scale, Work
from x2vlm.data.batch import Batch
from x2vlm.engine.compiling import compile_blocks
from x2vlm.engine.optim import autocast
from x2vlm.models.x2vlm import X2VLM

Stream = tuple[Batch, list[str]]  # and the objectives it trains
IMAGE_OBJECTIVES = ["itc", "itm", "mlm"]


def train_step(scale: Scale) -> list[Work]:
    """Forward and backward through captions and regions, three images for every eight of the latter."""
    model = make_model(scale.size, scale.size.image, dropout=scale.dropout).train()
    images = images_of(scale.pairs)
    name = f"mixed step, {scale.pairs} captions and {scale.pairs} regions on {images} images"
    return [step(name, model, mixed(scale.size, scale.pairs), 2 * scale.pairs, "pairs", scale)]


def video_step(scale: Scale) -> list[Work]:
    """Forward and backward through two clips of three frames."""
    model = make_model(scale.size, scale.size.image, dropout=scale.dropout, frames=3).train()
    streams = {"video": (image_batch(scale.size, 2, frames=3), IMAGE_OBJECTIVES)}
    return [step("video step, 2 clips of 3 frames", model, streams, 2, "clips", scale)]


def mixed(size: Size, pairs: int) -> dict[str, Stream]:
    """Captions, and as many regions."""
    regions = region_batch(size, pairs, images_of(pairs))
    return {"image": (image_batch(size, pairs), IMAGE_OBJECTIVES), "region": (regions, list(OBJECTIVES))}


def images_of(regions: int) -> int:
    """Three pictures for every eight regions."""
    return max(1, 3 * regions // 8)


def step(name: str, model: X2VLM, streams: Mapping[str, Stream], count: int, unit: str, scale: Scale) -> Work:
    """A step through all streams, by both sides; of the model, which is compiled in place if the scale says so.

    The plain path reads the weights of the blocks and never calls a block, so it runs as it is.
    """
    plain = PlainPath(model, CAPTION_TOKENS, MASKS)
    if scale.compiled:
        compile_blocks(model)
    how = [scale.precision] * (scale.precision != "fp32") + ["compiled"] * scale.compiled

    def with_library(only: Sequence[str]) -> Run:
        return _fresh(model, lambda: _library_step(model, streams, only, scale.precision))

    def plainly(only: Sequence[str]) -> Run:
        return _fresh(model, lambda: _plain_step(plain, streams, only))

    used = [one for one in OBJECTIVES if any(one in objectives for _, objectives in streams.values())]
    more = {name: (with_library(used[: i + 1]), plainly(used[: i + 1])) for i, name in enumerate(used)}
    vision = (
        _fresh(model, lambda: _library_vision(model, streams, scale.precision)),
        _fresh(model, lambda: _plain_vision(plain, streams)),
    )
    parts = {"vision": vision, "text": more.pop("itc")} | more
    return Work(", ".join([name, *how]), with_library(used), plainly(used), count, unit, parts)


def _library_step(model: X2VLM, streams: Mapping[str, Stream], only: Sequence[str], precision: str) -> Tensor:
    """As the training loop does it: all streams together."""
    batches = {stream: batch for stream, (batch, _) in streams.items()}
    used = {stream: [name for name in names if name in only] for stream, (_, names) in streams.items()}
    with autocast(precision, model.device):
        losses = model(batches, objectives=used)
        total = sum(value for each in losses.values() for value in each.values())
    total.backward()
    return total.detach()


def _plain_step(plain: PlainPath, streams: Mapping[str, Stream], only: Sequence[str]) -> Tensor:
    """As published: the losses of all streams are added, and go backward together."""
    losses = [
        plain.losses(batch, [name for name in objectives if name in only]) for batch, objectives in streams.values()
    ]
    total = sum(value for each in losses for value in each.values())
    total.backward()
    return total.detach()


def _library_vision(model: X2VLM, streams: Mapping[str, Stream], precision: str) -> Tensor:
    """What of a step is there before any text: pictures of all streams in one pass, and features of their parts."""
    with autocast(precision, model.device):
        encoded = model({stream: batch for stream, (batch, _) in streams.items()}, mode="encode")
        total = sum(each.context.feat.sum() for each in encoded.values())
    total.backward()
    return total.detach()


def _plain_vision(plain: PlainPath, streams: Mapping[str, Stream]) -> Tensor:
    summaries = [plain.contexts(batch)[0].embeds[:, 0] for batch, _ in streams.values()]
    total = sum(F.normalize(plain.model.vision_proj(summary), dim=-1).sum() for summary in summaries)
    total.backward()
    return total.detach()


def _fresh(model: X2VLM, run: Run) -> Run:
    """The run with the same random numbers each time, and no gradients from before."""

    def started() -> Any:
        model.zero_grad(set_to_none=True)
        torch.manual_seed(1)
        return run()

    return started
