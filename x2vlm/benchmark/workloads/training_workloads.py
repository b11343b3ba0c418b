"""Training workloads: whole steps, and cumulative parts of a step."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from x2vlm.benchmark.timing.device_precision import computing_in
from x2vlm.benchmark.timing.measurement import Run
from x2vlm.benchmark.workloads.model_sizes import MASKS, OBJECTIVES, Size, image_batch, make_model, region_batch
from x2vlm.benchmark.workloads.varied_batches import Stream, on_device, varied_batches
from x2vlm.benchmark.workloads.workload import CAPTION_TOKENS, Scale, Workload
from x2vlm.engine.hooks.compile_blocks import compile_blocks
from x2vlm.engine.optim.optim_wrapper import MixedOptimWrapper
from x2vlm.engine.optim.param_groups import X2VLMOptimConstructor
from x2vlm.models.x2vlm import X2VLM
from x2vlm.reference.reference_model import ReferenceModel

IMAGE_OBJECTIVES = ["itc", "itm", "mlm"]
# As configs/base/adamw.py has it, but at a rate at which learning from noise does no harm.
ADAMW = {
    "type": "MixedOptimWrapper",
    "optimizer": {"type": "AdamW", "lr": 1e-6, "betas": (0.9, 0.98), "weight_decay": 0.01},
    "clip_grad": {"max_norm": 1.0},
}


def train_step(scale: Scale) -> list[Workload]:
    """Forward and backward through captions and regions, three images for every eight of the latter."""
    model = make_model(scale.size, scale.size.image, dropout=scale.dropout).to(scale.device).train()
    images = images_of(scale.pairs)
    name = f"mixed step, {scale.pairs} captions and {scale.pairs} regions on {images} images"
    return [step(name, model, mixed(scale.size, scale.pairs), 2 * scale.pairs, "pairs", scale)]


def training(scale: Scale) -> list[Workload]:
    """Whole steps, the optimizer's included, through captions and regions whose shapes differ from step to step."""
    model = make_model(scale.size, scale.size.image, dropout=scale.dropout).to(scale.device).train()
    reference = ReferenceModel(model, CAPTION_TOKENS, MASKS)
    if scale.compiled:
        compile_blocks(model)
    precision = "fp32" if scale.precision == "tf32" else scale.precision
    optim_wrapper = X2VLMOptimConstructor(ADAMW | {"precision": precision})(model)
    batches = on_device(varied_batches(scale.size, scale.pairs, scale.batches), scale.device)

    def whole(losses: Callable[..., Tensor], computed_by: Any, streams: Mapping[str, Stream]) -> Run:
        return _update(optim_wrapper, lambda: losses(computed_by, streams, list(OBJECTIVES)), scale)

    steps = [(whole(library_losses, model, each), whole(reference_losses, reference, each)) for each in batches]
    library, with_reference = (lambda side=side: [both[side]() for both in steps] for side in (0, 1))
    name = f"training, {scale.pairs} captions and {scale.pairs} regions, {scale.batches} varied steps"
    return [Workload(named(name, scale), library, with_reference, 2 * scale.pairs, "pairs", steps=tuple(steps))]


def _update(optim_wrapper: MixedOptimWrapper, losses: Callable[[], Tensor], scale: Scale) -> Run:
    """Forward, backward and update."""

    def run() -> Tensor:
        with computing_in(scale.precision, scale.device):
            total = losses()
            optim_wrapper.add_gradients(total)
            optim_wrapper.finish_iteration()
        return total.detach()

    return run


def video_step(scale: Scale) -> list[Workload]:
    """Forward and backward through two clips of three frames."""
    model = make_model(scale.size, scale.size.image, dropout=scale.dropout, frames=3).to(scale.device).train()
    streams = {"video": (image_batch(scale.size, 2, frames=3), IMAGE_OBJECTIVES)}
    return [step("video step, 2 clips of 3 frames", model, streams, 2, "clips", scale)]


def mixed(size: Size, pairs: int) -> dict[str, Stream]:
    """Captions, and as many regions."""
    regions = region_batch(size, pairs, images_of(pairs))
    return {"image": (image_batch(size, pairs), IMAGE_OBJECTIVES), "region": (regions, list(OBJECTIVES))}


def images_of(regions: int) -> int:
    """Three images for every eight regions."""
    return max(1, 3 * regions // 8)


def step(name: str, model: X2VLM, streams: Mapping[str, Stream], count: int, unit: str, scale: Scale) -> Workload:
    """A step through all streams, by both sides; of the model, which is compiled in place if the scale says so.

    The reference path reads the weights of the blocks and never calls a block, so it runs as it is.
    """
    reference = ReferenceModel(model, CAPTION_TOKENS, MASKS)
    if scale.compiled:
        compile_blocks(model)
    streams = {name: (batch.to(scale.device), objectives) for name, (batch, objectives) in streams.items()}

    def with_library(only: Sequence[str]) -> Run:
        return _backward(model, lambda: library_losses(model, streams, only), scale)

    def with_reference(only: Sequence[str]) -> Run:
        return _backward(model, lambda: reference_losses(reference, streams, only), scale)

    names = [one for one in OBJECTIVES if any(one in objectives for _, objectives in streams.values())]
    growing = {name: (with_library(names[: i + 1]), with_reference(names[: i + 1])) for i, name in enumerate(names)}
    vision = (
        _backward(model, lambda: _library_vision(model, streams), scale),
        _backward(model, lambda: _reference_vision(reference, streams), scale),
    )
    parts = {"vision": vision, "text": growing.pop("itc")} | growing
    return Workload(named(name, scale), with_library(names), with_reference(names), count, unit, parts)


def named(name: str, scale: Scale) -> str:
    """A name with precision and compilation, where these are not the defaults."""
    suffixes = [scale.precision] * (scale.precision != "fp32") + ["compiled"] * scale.compiled
    return ", ".join([name, *suffixes])


def library_losses(model: X2VLM, streams: Mapping[str, Stream], only: Sequence[str]) -> Tensor:
    """As the training loop computes it: the sum of the losses of all streams, which go through the model together."""
    batches = {stream: batch for stream, (batch, _) in streams.items()}
    names_by_stream = {stream: [name for name in names if name in only] for stream, (_, names) in streams.items()}
    losses = model(batches, objectives=names_by_stream)
    return sum(value for each in losses.values() for value in each.values())


def reference_losses(reference: ReferenceModel, streams: Mapping[str, Stream], only: Sequence[str]) -> Tensor:
    """As published: the sum of the losses of one stream after the other; they go backward together."""
    losses = [
        reference.losses(batch, [name for name in objectives if name in only]) for batch, objectives in streams.values()
    ]
    return sum(value for each in losses for value in each.values())


def _library_vision(model: X2VLM, streams: Mapping[str, Stream]) -> Tensor:
    """The vision part of a step: images of all streams in one pass, and features of their regions."""
    encoded = model({stream: batch for stream, (batch, _) in streams.items()}, mode="encode")
    return sum(each.context.feat.sum() for each in encoded.values())


def _reference_vision(reference: ReferenceModel, streams: Mapping[str, Stream]) -> Tensor:
    summaries = [reference.contexts(batch)[0].embeds[:, 0] for batch, _ in streams.values()]
    return sum(F.normalize(reference.model.vision_proj(summary), dim=-1).sum() for summary in summaries)


def _backward(model: X2VLM, losses: Callable[[], Tensor], scale: Scale) -> Run:
    """Forward and backward, with the same random numbers each time, and no gradients from before."""

    def run() -> Tensor:
        model.zero_grad(set_to_none=True)
        torch.manual_seed(1)
        with computing_in(scale.precision, scale.device):
            total = losses()
            total.backward()
        return total.detach()

    return run
