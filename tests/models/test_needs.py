"""What objectives declare is what they read, in every kind of stream."""

from dataclasses import fields, replace

import pytest
import torch

from tests.models.conftest import encoded_for, image_batch, random_texts, region_batch, tiny_model
from x2vlm.data.batch import Batch
from x2vlm.models.needs import Needs, check_needs
from x2vlm.models.outputs import EncodedBatch, is_parallel

FIELDS = ("text", "masked_text", "context", "masked_image")


def parallel_batch(count=3):
    """Sentences whose words are masked (the context), and the same sentences in another language (the text)."""
    sentences, texts = random_texts(count, seed=1), random_texts(count, length=5, seed=2)
    return Batch(
        text_ids=texts["text_ids"],
        text_mask=texts["text_mask"],
        context_ids=sentences["text_ids"],
        context_text_mask=sentences["text_mask"],
        owner=torch.arange(count),
        **{name: sentences[name] for name in ("masked_ids", "mlm_positions", "mlm_labels")},
    )


BATCHES = {
    "image": image_batch,
    "region": region_batch,
    "parallel": parallel_batch,
    "plain text": lambda: Batch(**random_texts(3)),
}
OBJECTIVES = {
    "itc": dict(type="ITC", positives="ids_and_texts"),
    "itm": dict(type="ITM"),
    "mlm": dict(type="MLM"),
    "text_mlm": dict(type="TextMLM"),
    "bbox": dict(type="BBox"),
    "classification": dict(type="Classification", num_classes=3),
}
RUNS = [
    *[("image", name) for name in ("itc", "itm", "mlm", "text_mlm", "classification")],
    *[("region", name) for name in ("itc", "itm", "mlm", "bbox")],
    *[("parallel", name) for name in ("itc", "itm", "mlm", "text_mlm")],
    *[("plain text", name) for name in ("mlm", "text_mlm", "classification")],
]


def equally_wide_model(**changes):
    """Sentences stand in the place of images, so they have to be as wide."""
    vision = dict(type="BEiT2", image_size=16, patch_size=8, width=8, depth=1, num_heads=2)
    return tiny_model(vision_encoder=vision, **changes)


class RecordedBatch(EncodedBatch):
    """An encoded batch that records which of its fields are read."""

    def __getattribute__(self, name):
        if name in FIELDS:
            object.__getattribute__(self, "__dict__").setdefault("read", set()).add(name)
        return object.__getattribute__(self, name)


def declared(needs):
    names = {name for name in FIELDS if getattr(needs, name)}
    return names | ({"context"} if needs.reads_context else set())


@pytest.mark.parametrize(("kind", "name"), RUNS)
def test_an_objective_reads_no_field_that_it_does_not_declare(kind, name):
    model, batch = equally_wide_model(objectives=OBJECTIVES), BATCHES[kind]()
    batch.labels = torch.zeros(len(batch), dtype=torch.long)
    encoded = encoded_for(model, batch)
    recorded = RecordedBatch(**{field.name: getattr(encoded, field.name) for field in fields(EncodedBatch)})
    objective = model.objectives[name]
    objective.losses(recorded, model.read(objective.requests(recorded)))
    assert recorded.read <= declared(objective.needs.resolved(is_parallel(batch)))


@pytest.mark.parametrize("kind", BATCHES)
def test_only_what_is_declared_is_encoded(kind):
    model, batch = equally_wide_model(), BATCHES[kind]()
    needs = model.objectives["mlm"].needs
    encoded = model.encode(batch, needs)
    assert (encoded.text is not None) == (kind == "parallel")
    assert (encoded.context is not None) == (kind in ("image", "region"))
    assert encoded.masked_text is not None


def test_masked_words_declare_the_texts_of_a_parallel_stream_and_the_context_of_others():
    needs = equally_wide_model().objectives["mlm"].needs
    parallel, others = needs.resolved(parallel=True), needs.resolved(parallel=False)
    assert (parallel.text, parallel.reads_context) == (True, False)
    assert (others.text, others.optional_context, others.context) == (False, True, False)
    assert "text.embeds" in parallel.paths()


def test_a_parallel_batch_without_texts_is_refused_in_a_sentence():
    model, batch = equally_wide_model(), parallel_batch()
    batch = replace(batch, text_ids=None, text_mask=None, where=["pairs.jsonl, line 7"] * 3)
    with pytest.raises(
        ValueError, match=r"objective 'mlm' needs text\.embeds, but pairs\.jsonl, line 7, .* give no text"
    ):
        model(batch, objectives=["mlm"])


def test_the_union_of_needs_has_every_field_of_both_once():
    union = Needs(text=True, batch=("a", "b")) | Needs(features=True, batch=("b", "c"))
    assert union == Needs(text=True, features=True, batch=("a", "b", "c"))


def test_what_is_declared_and_there_is_not_refused():
    encoded = tiny_model().encode(image_batch())
    check_needs("itc", Needs(text=True, context=True, features=True), encoded)
