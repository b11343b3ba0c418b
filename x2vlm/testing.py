"""For the tests of a plugin: tiny models and batches, and checks of each contract that fail with a sentence.

```python
from x2vlm.testing import assert_objective, assert_vision_encoder


def test_the_encoder_keeps_its_contract():
    assert_vision_encoder(ConvGrid(image_size=32))


def test_the_objective_learns():
    losses = assert_objective(dict(type=Tone), labels=True)
```
"""

from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from x2vlm.building import build
from x2vlm.data.batch import Batch
from x2vlm.data.datasets.base import Adapter
from x2vlm.data.record import Record, RecordError
from x2vlm.data.record_contract import adapter_problem, pairs_problem, record_problem, step_problem
from x2vlm.data.sampler import seeded
from x2vlm.engine.metric_contract import check_calls, result_problem, state_of, state_problem
from x2vlm.models.tower_contract import fusion_problems, text_problems, vision_problems
from x2vlm.models.x2vlm import X2VLM
from x2vlm.registry import FUSION_ENCODERS, TEXT_ENCODERS, TRANSFORMS, VISION_ENCODERS

WORDS, SIDE = 40, 16
_RED = (255, 0, 0)
_DRAWS = 3  # of a transform with random numbers


def tiny_model(**changes: Any) -> X2VLM:
    """A model of a few numbers; ``changes`` replace its parts (``vision_encoder``, ``objectives``, ...).

    It reads images of 16 x 16 pixels and texts of 40 words.
    """
    text = dict(model_type="bert", vocab_size=WORDS, hidden_size=8, num_hidden_layers=1, num_attention_heads=2)
    parts = dict(
        vision_encoder=dict(type="BEiT2", image_size=SIDE, patch_size=8, width=16, depth=1, num_heads=2),
        text_encoder=dict(type="HFTextEncoder", config=text | dict(intermediate_size=16, max_position_embeddings=16)),
        fusion_encoder=dict(type="CrossAttentionFusion", depth=1, num_heads=2),
        objectives=dict(itc=dict(type="ITC"), itm=dict(type="ITM")),
        embed_dim=8,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return X2VLM(**{**parts, **changes})


def tiny_batch(pairs: int = 4, side: int = SIDE, labels: bool = False) -> Batch:
    """Images with a text and a box each, masked words, and if wanted a class 0 or 1 for every text."""
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(5, WORDS, (pairs, 6), generator=generator)
    mask = torch.arange(6) < torch.tensor([6, 4])[torch.arange(pairs) % 2][:, None]
    ids[~mask] = 0
    masked = ids.clone()
    masked[:, 2] = 4
    return Batch(
        text_ids=ids,
        text_mask=mask,
        masked_ids=masked,
        mlm_positions=torch.full((pairs, 1), 2),
        mlm_labels=ids[:, 2:3].clone(),
        pixels=torch.randn(pairs, 3, side, side, generator=generator),
        owner=torch.arange(pairs),
        boxes_xyxy=torch.tensor([[0.0, 0.0, 0.5, 1.0]]).repeat(pairs, 1),
        has_box=torch.ones(pairs, dtype=torch.bool),
        ids=torch.arange(pairs),
        labels=torch.arange(pairs) % 2 if labels else None,
        where=[f"tiny:{number}" for number in range(pairs)],
    )


def assert_vision_encoder(encoder: nn.Module | Mapping) -> nn.Module:
    """Check the contract of a vision encoder, built or as its config; returns it."""
    encoder = build(VISION_ENCODERS, encoder, "vision_encoder")
    _fail_with(vision_problems(encoder))
    return encoder


def assert_text_encoder(encoder: nn.Module | Mapping) -> nn.Module:
    """Check the contract of a text encoder, built or as its config; returns it."""
    encoder = build(TEXT_ENCODERS, encoder, "text_encoder", vocab_size=WORDS, pad_token_id=0)
    _fail_with(text_problems(encoder))
    return encoder


def assert_fusion_encoder(encoder: nn.Module | Mapping, width: int = 8, context_width: int = 16) -> nn.Module:
    """Check the contract of a fusion encoder, built or as its config; returns it."""
    encoder = build(FUSION_ENCODERS, encoder, "fusion_encoder", width=width, context_width=context_width)
    _fail_with(fusion_problems(encoder, width, context_width))
    return encoder


def assert_objective(
    objective: nn.Module | Mapping, batch: Batch | None = None, labels: bool = False, **changes: Any
) -> dict[str, Tensor]:
    """Train a step of a tiny model with this objective alone; returns what it gave.

    Args:
        objective: The objective, built or as its config.
        batch: What to train on; :func:`tiny_batch` if not given.
        labels: Whether the tiny batch has labels.
        **changes: Other parts of the model.
    """
    model = tiny_model(objectives={"mine": objective}, **changes)
    found = model.train()(tiny_batch(labels=labels) if batch is None else batch)
    loss = sum(value for key, value in found.items() if "loss" in key)
    assert torch.isfinite(loss), f"the loss is {loss}"
    assert loss.requires_grad, "the loss depends on no weight: nothing would be learned"
    loss.backward()
    return {key: value.detach() for key, value in found.items()}


def assert_adapter(adapter: Adapter, records: int = 5) -> None:
    """Check the contract of an adapter on its first and last records; bad ones may be among them."""
    assert isinstance(adapter, Adapter), f"{type(adapter).__name__} is no Adapter. Derive it from x2vlm.data.Adapter."
    problem = adapter_problem(adapter)
    assert not problem, problem
    count, usable, reasons = len(adapter), 0, []
    assert count > 0, "the adapter has no records"
    for index in sorted({*range(min(records, count)), *range(max(0, count - records), count)}):
        try:
            first = deepcopy(adapter.record(index))  # the adapter may keep it, and write to it
            second = adapter.record(index)
        except RecordError as error:
            reasons.append(str(error))
            continue
        usable += 1
        _fail_with([f"record({index}) {problem}" for problem in [record_problem(first)] if problem])
        assert _equal(first, second), (
            f"record({index}) is another one when it is read again; what is random belongs into a transform"
        )
    assert usable, f"not one of the records could be used, such as {reasons[0]}"


def assert_transform(transform: Callable | Mapping, record: Record | None = None) -> Any:
    """Check what a transform makes of a record (an image with a box and a text, if not given); returns it."""
    transform, given = build(TRANSFORMS, transform, "transform"), []
    for draw in range(_DRAWS):
        before = noisy_image() if record is None else record
        kept = deepcopy(before)
        with seeded(draw):
            after = transform(before)
        for key, value in kept.items():
            assert key in before and _equal(before[key], value), (
                f"it changed '{key}' of the record it was given; return a new one, record | {{...}}, with new arrays"
            )
        if after is not None:
            try:
                problem = step_problem(transform, before, after)
            except RecordError as error:  # this record's boxes are right
                problem = error.reason
            _fail_with([problem] if problem else [])
            given.append(after)
    assert given, f"it returned None for each of {_DRAWS} records, which drops them. Is its return forgotten?"
    return given[-1]


def noisy_image() -> Record:
    """:func:`known_picture` with noise in the place of its two colours."""
    record = known_picture()
    shape = record["frames"][0].shape
    return record | {"frames": [np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)]}


def known_picture(height: int = 48, width: int = 64, box: Sequence[int] = (8, 12, 24, 36)) -> Record:
    """A record of a black image with a red rectangle exactly in its only box, (x0, y0, x1, y1) in pixels."""
    frame = np.zeros((height, width, 3), dtype=np.uint8)
    frame[box[1] : box[3], box[0] : box[2]] = _RED
    boxes = np.array([box], dtype=np.float32)
    return {"where": "known picture", "frames": [frame], "texts": ["a red rectangle"], "ids": ["red"]} | {
        "has_box": [True],
        "boxes_xyxy_px": boxes,
    }


def assert_boxes_follow(transform: Callable | Mapping, draws: int = 20, slack: float = 2.0) -> None:
    """Run a transform on a known image and look where the rectangle went: its box must be there.

    Args:
        transform: The transform, built or as its config.
        draws: How often, with other random numbers; a draw that drops the record does not count.
        slack: Pixels by which an edge may lie elsewhere (interpolation, rounding).
    """
    transform, seen = build(TRANSFORMS, transform, "transform"), 0
    for draw in range(draws):
        with seeded(draw):
            try:
                after = transform(known_picture())
            except RecordError:
                continue
        if after is None or not len(after["boxes_xyxy_px"]):
            continue
        _fail_with([problem for problem in [pairs_problem(after)] if problem])
        frame = after["frames"][0]
        rows, columns = np.nonzero((frame[..., 0] > 127) & (frame[..., 1] < 128))
        if not len(rows):
            continue
        seen += 1
        place = np.array([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1], dtype=np.float32)
        box = np.asarray(after["boxes_xyxy_px"], dtype=np.float32)[0]
        limits = np.array([frame.shape[1], frame.shape[0]] * 2, dtype=np.float32)
        error = np.abs(box.clip(0, limits) - place).max()
        assert error <= slack, f"draw {draw}: the rectangle is at {place.tolist()}, its box at {box.tolist()}"
    assert seen, "the rectangle was in none of the images that came out"


def assert_metric(metric: Any, loader: Sequence[Batch] | None = None, **changes: Any) -> dict[str, float]:
    """Evaluate a tiny model with a metric; returns its numbers.

    Args:
        metric: The metric, built.
        loader: Batches; one :func:`tiny_batch` if not given.
        **changes: Other parts of the model.
    """
    assert hasattr(metric, "evaluate"), f"{type(metric).__name__} has no evaluate(model, loader)."
    model = tiny_model(**changes).eval()
    check_calls(metric, model, "metric")
    before = state_of(model)
    with torch.no_grad():
        found = metric.evaluate(model, [tiny_batch()] if loader is None else loader)
    problem = result_problem(found)
    assert not problem, f"{type(metric).__name__}.evaluate returned {problem}"
    _fail_with([problem for problem in [state_problem(metric, model, before)] if problem])
    return {key: float(value) for key, value in found.items()}


def _equal(first: Any, second: Any) -> bool:
    """Whether two values of records are the same, arrays within lists and dicts too."""
    if isinstance(first, Mapping) and isinstance(second, Mapping):
        return first.keys() == second.keys() and all(_equal(first[key], second[key]) for key in first)
    if isinstance(first, (list, tuple)) and isinstance(second, (list, tuple)):
        return len(first) == len(second) and all(map(_equal, first, second))
    return bool(np.array_equal(first, second))


def _fail_with(problems: Sequence[str]) -> None:
    assert not problems, "\n".join(problems)
