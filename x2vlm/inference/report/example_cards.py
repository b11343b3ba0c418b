"""A gallery: pictures a model has never seen, where it points, and what it says they show."""

import base64
import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from PIL import Image

from x2vlm.boxes import paired_iou
from x2vlm.building import build
from x2vlm.data.batch import Sample
from x2vlm.data.datasets.base import Adapter
from x2vlm.data.record import RecordError
from x2vlm.inference.draw_boxes import COLORS, DrawnBox, as_array, draw_boxes, film_strip
from x2vlm.inference.inferencer import Inferencer
from x2vlm.registry import DATASETS, TRANSFORMS

MOST_PHRASES = 4  # on one picture; more boxes hide each other
MOST_CANDIDATES = 256  # captions that a picture chooses from
SHOWN_CAPTIONS = 3


@dataclass(frozen=True)
class Phrase:
    """A phrase, the colour of its boxes on the picture, and how well the predicted one overlaps the true one."""

    text: str
    color: str
    iou: float


@dataclass(frozen=True)
class Caption:
    """A caption the model considered: its place from 1, how probable it finds it, and whether it is the right one."""

    text: str
    place: int
    probability: float | None
    right: bool


@dataclass
class Card:
    """A picture with what the model made of it.

    Attributes:
        where: Its record.
        id: What tells the picture from others.
        picture: Drawn, as a ``data:`` address.
        wide: Whether it is a strip of frames.
        phrases: What it was asked to find.
        captions: The best captions, and the right one if it is not among them.
        candidates: How many captions there were to choose from.
    """

    where: str
    id: str
    picture: str
    wide: bool = False
    phrases: list[Phrase] = field(default_factory=list)
    captions: list[Caption] = field(default_factory=list)
    candidates: int = 0


def grounding_cards(inferencer: Inferencer, dataset: Adapter, count: int) -> list[Card]:
    """The first ``count`` pictures of a data set of phrases: true boxes in whole lines, predicted ones broken."""
    cards = []
    for record, sample in _usable(dataset, count):
        chosen = sample.has_box.nonzero().flatten()[:MOST_PHRASES].tolist()
        if not chosen:
            continue
        picture = as_array(record["image"])
        height, width = picture.shape[:2]
        true = sample.boxes_xyxy[chosen] * torch.tensor([width, height, width, height])
        found = inferencer.locate(picture, [sample.texts[i] for i in chosen])
        predicted = torch.tensor([one.box_xyxy_px for one in found])
        boxes, phrases = [], []
        for i, (one, iou) in enumerate(zip(found, paired_iou(predicted, true).tolist(), strict=True)):
            color = COLORS[i % len(COLORS)]
            boxes += [DrawnBox(true[i].tolist(), color=color), DrawnBox(one.box_xyxy_px, color=color, dashed=True)]
            phrases.append(Phrase(one.text, color, iou))
        cards.append(Card(sample.where, _id(record), data_address(draw_boxes(picture, boxes)), phrases=phrases))
    return cards


def matching_cards(inferencer: Inferencer, dataset: Adapter, count: int, k: int | None = 32) -> list[Card]:
    """The first ``count`` pictures or clips of a data set, each choosing among the captions of many.

    Args:
        inferencer: Asks the model.
        dataset: Pictures (or clips) with captions.
        count: Cards.
        k: Captions of highest cosine that are matched; None for all.
    """
    usable = [pair for pair in _usable(dataset, MOST_CANDIDATES) if not pair[1].has_box.any()]  # of whole pictures
    candidates = list(dict.fromkeys(text for _, sample in usable for text in sample.texts))
    cards = []
    for record, sample in usable[:count]:
        shown = record["video"] if inferencer.video else record["image"]
        matches = inferencer.match(shown, candidates, k)
        captions = [Caption(m.text, i, m.probability, m.text in sample.texts) for i, m in enumerate(matches, start=1)]
        best = captions[:SHOWN_CAPTIONS]
        if not any(caption.right for caption in best):
            best.append(next(caption for caption in captions if caption.right))
        if inferencer.video:
            frames = [as_array(frame) for frame in _frames(inferencer, record)]
            card = Card(sample.where, _id(record), data_address(film_strip(frames)), wide=True)
        else:
            card = Card(sample.where, _id(record), data_address(draw_boxes(shown)))
        card.captions, card.candidates = best, len(candidates)
        cards.append(card)
    return cards


def make_gallery(
    evaluations: Mapping[str, Mapping], results: Mapping[str, float], model: Any, tokenizer: Any, count: int = 6
) -> dict[str, list[Card]]:
    """Cards for every evaluation that measured grounding or retrieval, over its own data.

    Args:
        evaluations: Their configs by name.
        results: What they found, ``{"<evaluation>/<metric>": number}``; tells which is which.
        model: The model.
        tokenizer: The tokenizer.
        count: Cards for each.
    """
    gallery = {}
    for name, cfg in evaluations.items():
        makers = {"mean_iou": grounding_cards, "i2t_r1": matching_cards}
        maker = next((make for metric, make in makers.items() if f"{name}/{metric}" in results), None)
        if maker is None:
            continue
        dataset = build(DATASETS, cfg["dataset"], f"evaluations.{name}.dataset")
        collate = build(TRANSFORMS, cfg["collate"], f"evaluations.{name}.collate", tokenizer=tokenizer)
        gallery[name] = maker(Inferencer(model, dataset.pipeline, collate), dataset, count)
    return join_same_pictures(gallery)


def join_same_pictures(gallery: Mapping[str, Sequence[Card]]) -> dict[str, list[Card]]:
    """Put the captions of a picture on the card that has its boxes; evaluations that are left empty go."""
    boxed = {card.id: card for cards in gallery.values() for card in cards if card.phrases}
    joined = {}
    for name, cards in gallery.items():
        twins = [card for card in cards if not card.phrases and not card.wide and card.id in boxed]
        for card in twins:
            boxed[card.id].captions, boxed[card.id].candidates = card.captions, card.candidates
        joined[name] = [card for card in cards if card not in twins]
    return {name: cards for name, cards in joined.items() if cards}


def data_address(image: Image.Image) -> str:
    """The image inside the page itself, as PNG."""
    buffer = io.BytesIO()
    image.save(buffer, "PNG", optimize=True)
    return f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}"


def _id(record: Mapping[str, Any]) -> str:
    return str(record.get("id", record["where"]))


def _usable(dataset: Adapter, count: int) -> Iterator[tuple[Mapping[str, Any], Sample]]:
    """Records with their samples; one that cannot be used was named by the evaluation and is passed over here."""
    for index in range(len(dataset)):
        if count <= 0:
            return
        try:
            pair = dataset.record(index), dataset[index]
        except RecordError:
            continue
        if pair[1].texts:
            count -= 1
            yield pair


def _frames(inferencer: Inferencer, record: Mapping[str, Any]) -> Sequence[Any]:
    """The frames that the model looks at."""
    result: Any = dict(record)
    for step in inferencer.pipeline:
        result = step(result)
        if "frames" in result:
            return result["frames"]
    raise ValueError(f"{record['where']}: the pipeline reads no frames.")
