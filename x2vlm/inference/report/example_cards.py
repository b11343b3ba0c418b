"""Examples of an evaluation for the report page: images with predicted boxes and ranked captions."""

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
from x2vlm.inference.draw_boxes import COLORS, BoxAnnotation, draw_boxes, frame_strip, to_rgb_array
from x2vlm.inference.inferencer import Inferencer
from x2vlm.inference.preprocessing import preprocessing_of_config
from x2vlm.registry import DATASETS

MAX_PHRASES = 4  # on one image; more boxes would cover each other
MAX_CANDIDATES = 256  # captions that are ranked for an image
SHOWN_CAPTIONS = 3


@dataclass(frozen=True)
class PhraseResult:
    """A phrase, the colour of its boxes on the image, and the IoU of predicted and true box."""

    text: str
    color: str
    iou: float


@dataclass(frozen=True)
class CaptionResult:
    """A ranked caption: its rank from 1, its matching probability, and whether it belongs to the image."""

    text: str
    rank: int
    probability: float | None
    correct: bool


@dataclass
class ExampleCard:
    """An image with the model's predictions.

    Attributes:
        where: Its record.
        id: Identity of the image.
        image: The drawn image, as a ``data:`` URL.
        wide: Whether it is a strip of frames.
        phrases: The phrases to ground.
        captions: The best captions, and the correct one if it is not among them.
        candidates: How many captions were ranked.
    """

    where: str
    id: str
    image: str
    wide: bool = False
    phrases: list[PhraseResult] = field(default_factory=list)
    captions: list[CaptionResult] = field(default_factory=list)
    candidates: int = 0


def grounding_cards(inferencer: Inferencer, dataset: Adapter, count: int) -> list[ExampleCard]:
    """Cards of the first ``count`` images of a data set of phrases: true boxes solid, predicted ones dashed."""
    cards = []
    for record, sample in _usable(dataset, count):
        with_box = sample.has_box.nonzero().flatten()[:MAX_PHRASES].tolist()
        if not with_box:
            continue
        image = to_rgb_array(record["image"])
        height, width = image.shape[:2]
        true = sample.boxes_xyxy[with_box] * torch.tensor([width, height, width, height])
        grounded = inferencer.ground(image, [sample.texts[i] for i in with_box])
        predicted = torch.tensor([phrase.box_xyxy_px for phrase in grounded])
        boxes, phrases = [], []
        for i, (phrase, iou) in enumerate(zip(grounded, paired_iou(predicted, true).tolist(), strict=True)):
            color = COLORS[i % len(COLORS)]
            boxes.append(BoxAnnotation(true[i].tolist(), color=color))
            boxes.append(BoxAnnotation(phrase.box_xyxy_px, color=color, dashed=True))
            phrases.append(PhraseResult(phrase.text, color, iou))
        cards.append(ExampleCard(sample.where, _id(record), data_url(draw_boxes(image, boxes)), phrases=phrases))
    return cards


def matching_cards(inferencer: Inferencer, dataset: Adapter, count: int, k: int | None = 32) -> list[ExampleCard]:
    """Cards of the first ``count`` images or clips of a data set, each with the captions of many images ranked.

    Args:
        inferencer: The model, with the preprocessing of the evaluation.
        dataset: Images (or clips) with captions.
        count: Cards.
        k: Captions of highest cosine whose matching probability is computed; None for all.
    """
    usable = [pair for pair in _usable(dataset, MAX_CANDIDATES) if not pair[1].has_box.any()]  # of whole images
    candidates = list(dict.fromkeys(text for _, sample in usable for text in sample.texts))
    cards = []
    for record, sample in usable[:count]:
        is_clip = "video" in record
        media = {"video": _frames(dataset, record)} if is_clip else {"image": record["image"]}
        matches = inferencer.match(texts=candidates, k=k, **media)
        captions = [
            CaptionResult(match.text, rank, match.probability, match.text in sample.texts)
            for rank, match in enumerate(matches, start=1)
        ]
        best = captions[:SHOWN_CAPTIONS]
        if not any(caption.correct for caption in best):
            best.append(next(caption for caption in captions if caption.correct))
        if is_clip:
            card = ExampleCard(sample.where, _id(record), data_url(frame_strip(media["video"])), wide=True)
        else:
            card = ExampleCard(sample.where, _id(record), data_url(draw_boxes(media["image"])))
        card.captions, card.candidates = best, len(candidates)
        cards.append(card)
    return cards


def example_cards(
    evaluations: Mapping[str, Mapping], results: Mapping[str, float], model: Any, tokenizer: Any, count: int = 6
) -> dict[str, list[ExampleCard]]:
    """Cards for every evaluation of grounding or retrieval, from its data set.

    Args:
        evaluations: Their configs by name.
        results: Their metrics, ``{"<evaluation>/<metric>": number}``, from which the task of each is known.
        model: The model.
        tokenizer: The tokenizer.
        count: Cards for each.
    """
    cards = {}
    for name, cfg in evaluations.items():
        makers = {"mean_iou": grounding_cards, "i2t_r1": matching_cards}
        maker = next((make for metric, make in makers.items() if f"{name}/{metric}" in results), None)
        if maker is None:
            continue
        dataset = build(DATASETS, cfg["dataset"], f"evaluations.{name}.dataset")
        settings = preprocessing_of_config({"evaluations": {name: cfg}}, model)
        cards[name] = maker(Inferencer(model, tokenizer, settings), dataset, count)
    return merge_cards(cards)


def merge_cards(cards_of: Mapping[str, Sequence[ExampleCard]]) -> dict[str, list[ExampleCard]]:
    """Merge the cards of one image in two evaluations: its captions go to the card with its boxes.

    Evaluations without remaining cards are left out.
    """
    with_boxes = {card.id: card for cards in cards_of.values() for card in cards if card.phrases}
    merged = {}
    for name, cards in cards_of.items():
        duplicates = [card for card in cards if not card.phrases and not card.wide and card.id in with_boxes]
        for card in duplicates:
            with_boxes[card.id].captions, with_boxes[card.id].candidates = card.captions, card.candidates
        merged[name] = [card for card in cards if card not in duplicates]
    return {name: cards for name, cards in merged.items() if cards}


def data_url(image: Image.Image) -> str:
    """The image as a PNG in a ``data:`` URL."""
    buffer = io.BytesIO()
    image.save(buffer, "PNG", optimize=True)
    return f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}"


def _id(record: Mapping[str, Any]) -> str:
    return str(record.get("id", record["where"]))


def _usable(dataset: Adapter, count: int) -> Iterator[tuple[Mapping[str, Any], Sample]]:
    """The first ``count`` usable records with their samples; the evaluation has logged the bad ones."""
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


def _frames(dataset: Adapter, record: Mapping[str, Any]) -> Sequence[Any]:
    """The frames that the pipeline samples."""
    result: Any = dict(record)
    for step in dataset.pipeline:
        result = step(result)
        if "frames" in result:
            return result["frames"]
    raise ValueError(f"{record['where']}: the pipeline reads no frames.")
