"""Example cards show predictions, and which of them are correct."""

import base64
import io

import pytest
import torch
from PIL import Image

from x2vlm.building import build
from x2vlm.data.collate.pair_collate import PairCollate
from x2vlm.data.datasets.base import Adapter
from x2vlm.data.record import RecordError
from x2vlm.evaluation.metrics.recall import best_ranks
from x2vlm.inference import Inferencer
from x2vlm.inference.report.example_cards import (
    ExampleCard,
    PhraseResult,
    example_cards,
    grounding_cards,
    matching_cards,
    merge_cards,
)
from x2vlm.registry import DATASETS, METRICS


def data(cfg, name):
    return build(DATASETS, cfg.evaluations[name].dataset)


def collate(inferencer):
    return PairCollate(inferencer.processor.tokenizer, masking=None)


def image(card):
    return Image.open(io.BytesIO(base64.b64decode(card.image.removeprefix("data:image/png;base64,"))))


def test_ious_on_the_cards_are_those_that_the_metric_averages(cfg, checkpoint):
    inferencer, dataset = Inferencer.from_checkpoint(cfg, checkpoint, "grounding"), data(cfg, "grounding")
    dataset.numbers = [n for n in dataset.numbers if len(dataset.scene(n).things) < 3]  # all phrases fit on a card
    cards = grounding_cards(inferencer, dataset, count=100)
    ious = [phrase.iou for card in cards for phrase in card.phrases]
    loader = [collate(inferencer)([dataset[i] for i in range(len(dataset))])]
    results = build(METRICS, dict(type="GroundingMetric")).evaluate(inferencer.model, loader)
    assert len(ious) > 2
    # The metric takes boxes as predicted; on cards they are clipped to the image.
    assert 100 * sum(ious) / len(ious) == pytest.approx(results["mean_iou"], rel=0.01)


def test_every_phrase_has_a_colour_of_its_own(cfg, checkpoint):
    for card in grounding_cards(Inferencer.from_checkpoint(cfg, checkpoint, "grounding"), data(cfg, "grounding"), 3):
        assert len({phrase.color for phrase in card.phrases}) == len(card.phrases)
        assert max(image(card).size) == 320


@pytest.mark.parametrize("name", ["image_retrieval", "video_retrieval"])
def test_the_correct_caption_is_on_every_card_with_its_rank(cfg, checkpoint, name):
    inferencer, dataset = Inferencer.from_checkpoint(cfg, checkpoint, name), data(cfg, name)
    cards = matching_cards(inferencer, dataset, count=6, k=None)
    batch = collate(inferencer)([dataset[i] for i in range(6)])
    with torch.no_grad():
        encoded = inferencer.model.encode(batch)
        pairs = torch.cartesian_prod(torch.arange(6), torch.arange(6))
        fused = inferencer.model.fuse(encoded.context.select(pairs[:, 0]), encoded.text.select(pairs[:, 1]))
        scores = inferencer.model.objectives["itm"].score(fused[:, 0]).softmax(-1)[:, 1].view(6, 6)
    ranks = (1 + best_ranks(scores, torch.arange(6), torch.arange(6))).tolist()
    assert [next(c.rank for c in card.captions if c.correct) for card in cards] == ranks
    assert [card.candidates for card in cards] == [6] * 6
    assert all(len(card.captions) == (3 if rank <= 3 else 4) for card, rank in zip(cards, ranks, strict=True))


def test_clips_are_shown_as_strips_of_the_sampled_frames(cfg, checkpoint):
    (card,) = matching_cards(
        Inferencer.from_checkpoint(cfg, checkpoint, "video_retrieval"), data(cfg, "video_retrieval"), 1
    )
    assert card.wide
    assert image(card).size == (160 + 4 + 160, 160)


class Broken(Adapter):
    """A data set whose first record cannot be used."""

    def __init__(self, dataset):
        self.dataset, self.pipeline = dataset, dataset.pipeline

    def __len__(self):
        return len(self.dataset)

    def record(self, index):
        if index == 0:
            raise RecordError("broken:0", "no image")
        return self.dataset.record(index)


def test_a_record_that_cannot_be_used_is_skipped(cfg, checkpoint):
    inferencer, dataset = Inferencer.from_checkpoint(cfg, checkpoint, "image_retrieval"), data(cfg, "image_retrieval")
    assert [c.where for c in matching_cards(inferencer, Broken(dataset), 2)] == [dataset[1].where, dataset[2].where]


def test_a_record_without_texts_is_skipped(cfg, checkpoint):
    cfg.evaluations.grounding.dataset.pipeline[1].kinds = ("region",)  # scenes of one thing have no relations
    inferencer, dataset = Inferencer.from_checkpoint(cfg, checkpoint, "grounding"), data(cfg, "grounding")
    without_texts = [i for i in range(len(dataset)) if not dataset[i].texts]
    assert without_texts
    assert len(grounding_cards(inferencer, dataset, 100)) == len(dataset) - len(without_texts)


def test_phrases_of_regions_are_not_captions_of_an_image(cfg, checkpoint):
    inferencer = Inferencer.from_checkpoint(cfg, checkpoint, "grounding")
    assert matching_cards(inferencer, data(cfg, "grounding"), 3) == []


def test_there_are_cards_for_grounding_and_for_retrieval_merged_by_image(cfg, checkpoint):
    inferencer = Inferencer.from_checkpoint(cfg, checkpoint, "grounding")
    results = {"grounding/mean_iou": 1.0, "image_retrieval/i2t_r1": 1.0, "video_retrieval/i2t_r1": 1.0, "other/x": 0.0}
    cfg.evaluations.other = dict()
    cards = example_cards(cfg.evaluations, results, inferencer.model, inferencer.processor.tokenizer, count=2)
    assert list(cards) == ["grounding", "video_retrieval"]  # the toy world shows one scene as region and as image
    assert all(card.phrases and card.captions for card in cards["grounding"])


def test_cards_of_different_images_are_not_merged():
    boxed, plain = ExampleCard("a:1", "1", "", phrases=[PhraseResult("x", "red", 0.5)]), ExampleCard("b:2", "2", "")
    assert merge_cards({"grounding": [boxed], "image": [plain]}) == {"grounding": [boxed], "image": [plain]}
