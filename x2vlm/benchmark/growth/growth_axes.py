"""Axes of growth: seconds of both sides by batch, regions, tokens and pixels, and of a search by gallery size."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import torch

from x2vlm.benchmark.comparison.compare import SIDES
from x2vlm.benchmark.growth.growth_gallery import gallery
from x2vlm.benchmark.timing.measurement import interleaved, slope, summary
from x2vlm.benchmark.workloads.inference_workloads import encode_images
from x2vlm.benchmark.workloads.model_sizes import OBJECTIVES, SIZES, Size, image_batch, make_model, region_batch
from x2vlm.benchmark.workloads.training_workloads import IMAGE_OBJECTIVES, mixed, step
from x2vlm.benchmark.workloads.workload import Scale, Workload

Points = Iterator[tuple[int, dict[str, float]]]  # where, and the seconds of each curve there
AXES = ("batch", "regions", "text", "resolution", "gallery")


@dataclass(frozen=True)
class Axis:
    """One quantity that is varied.

    Attributes:
        label: The quantity, with its unit.
        what: The computation that is timed.
        values: Of the quantity.
        points: Measures at each of them: ``(values, size, repeats, threads)``.
    """

    label: str
    what: str
    values: tuple[int, ...]
    points: Callable[[Sequence[int], Size, int, int], Points]


def axes(size: str) -> dict[str, Axis]:
    """All of ``AXES``, for a model of base or tiny size."""
    base = size == "base"
    sides = (224, 288, 384, 480) if base else (16, 32, 48, 64)
    galleries = (10**4, 10**5, 10**6) if base else (200, 2000)
    return {
        "batch": Axis("captions, and as many regions", "forward and backward", (2, 4, 8, 16), _batch),
        "regions": Axis(
            "regions of one image, beside one of another", "forward and backward", (1, 2, 4, 8, 16), _regions
        ),
        "text": Axis("tokens of a caption", "forward and backward of 4 images", (5, 10, 20, 40), _text),
        "resolution": Axis("side of an image, pixels", "2 + 2 pairs (step), 2 images (encoding)", sides, _resolution),
        "gallery": Axis("features in the gallery", "per query of 256 at once", galleries, _gallery),
    }


def measure(axis: Axis, size: str, repeats: int, threads: int) -> Points:
    """Median seconds of each curve at each value; before the first, each side runs once uncounted."""
    return axis.points(axis.values, SIZES[size], repeats, threads)


def curve_slopes(points: Sequence[tuple[int, dict[str, float]]]) -> dict[str, float]:
    """Slope of each curve on log-log axes."""
    return {name: slope([(at, seconds[name]) for at, seconds in points]) for name in points[0][1]}


def _batch(values: Sequence[int], size: Size, repeats: int, _: int) -> Points:
    model = make_model(size, size.image).train()
    for pairs in values:
        workload = step("", model, mixed(size, pairs), 2 * pairs, "pairs", Scale(size))
        yield pairs, _seconds(workload, repeats, pairs == values[0])


def _regions(values: Sequence[int], size: Size, repeats: int, _: int) -> Points:
    model = make_model(size, size.image).train()
    for count in values:
        # One region of another image beside them: a single pair has no negatives, and the reference path draws none
        # then.
        owner = torch.tensor([0] * count + [1])
        streams = {"region": (replace(region_batch(size, count + 1, 2), owner=owner), list(OBJECTIVES))}
        workload = step("", model, streams, count + 1, "regions", Scale(size))
        yield count, _seconds(workload, repeats, count == values[0])


def _text(values: Sequence[int], size: Size, repeats: int, _: int) -> Points:
    model = make_model(size, size.image).train()
    for tokens in values:
        streams = {"image": (image_batch(size, 4, tokens=tokens), IMAGE_OBJECTIVES)}
        workload = step("", model, streams, 4, "pairs", Scale(size))
        yield tokens, _seconds(workload, repeats, tokens == values[0])


def _resolution(values: Sequence[int], size: Size, repeats: int, _: int) -> Points:
    for side in values:
        size = replace(size, image=side)
        model = make_model(size, side).train()
        trained = step("", model, mixed(size, 2), 4, "pairs", Scale(size))
        seconds = _seconds(trained, repeats, side == values[0], ", step")
        encoded = encode_images(model.eval(), side, 2, Scale(size))
        yield side, seconds | _seconds(encoded, repeats, side == values[0], ", encoding")


def _gallery(values: Sequence[int], _: Size, __: int, threads: int) -> Points:
    for count in values:
        yield count, {row["index"]: row["seconds"] for row in gallery([count], threads=threads)}


def _seconds(workload: Workload, repeats: int, warm_up: bool, suffix: str = "") -> dict[str, float]:
    """Medians by curve: ``library`` and ``reference``, with a suffix where two computations are in one plot."""
    seconds_of_sides = interleaved([workload.library, workload.reference], repeats, warm_up=int(warm_up))
    return {
        f"{side}{suffix}": summary(seconds)["median"] for side, seconds in zip(SIDES, seconds_of_sides, strict=True)
    }
