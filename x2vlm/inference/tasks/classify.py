"""Classes of images, of sentences, and of sentences about one image or several.

Shape letters: B inputs, K images that a text reads together.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from x2vlm.data.batch import Batch
from x2vlm.inference.inputs import is_many
from x2vlm.inference.processor import Processor
from x2vlm.inference.results import Label


def classify(
    model: Any,
    processor: Processor,
    images: Any,
    texts: Any,
    video: Any,
    names: Sequence[str],
    best: int,
    chunk: int,
) -> list[Label] | Label:
    """See :meth:`~x2vlm.inference.inferencer.Inferencer.classify`.

    Raises:
        ValueError: If the model reads something else than was given, or names do not fit its classes.
    """
    objective = model.objectives["classification"]
    check_inputs(objective, images if images is not None else video, texts)
    if names and len(names) != objective.num_classes:
        raise ValueError(f"{len(names)} names of classes were given, but the model has {objective.num_classes}.")
    many, sets, sentences = _inputs(objective, images, texts, video)
    logits = [
        _logits(
            model,
            processor,
            sets and sets[start : start + chunk],
            sentences and sentences[start : start + chunk],
            video is not None,
        )
        for start in range(0, len(sets or sentences), chunk)
    ]
    found = [_label(row, names, best) for row in torch.cat(logits)]
    return found if many else found[0]


def check_inputs(objective: Any, images: Any, texts: Any) -> None:
    """Refuse what the objective does not read, and ask for what it does.

    Raises:
        ValueError: If something is missing or too much.
    """
    wants = {"fused": (True, True), "text": (False, True), "context": (True, False)}[objective.reads]
    for name, given, wanted in (("images", images, wants[0]), ("texts", texts, wants[1])):
        if (given is not None) != wanted:
            what = {"fused": "a text with its image", "text": "a text alone", "context": "an image alone"}
            do = f"give {name}" if wanted else f"leave {name} out"
            raise ValueError(f"this model classifies {what[objective.reads]}: {do}.")


def _inputs(objective: Any, images: Any, texts: Any, video: Any) -> tuple[bool, list[Any] | None, list[Any] | None]:
    """Whether several were given, the images of each (a tuple of K), and the text of each."""
    source = images if images is not None else video
    together = objective.contexts
    sets = sentences = None
    many = isinstance(texts, list) if texts is not None else isinstance(source, list)
    if source is not None:
        sets = list(source) if many else [source]
        sets = [tuple(one) if together > 1 and is_many(one) else (one,) for one in sets]
        wrong = [one for one in sets if len(one) != together]
        if wrong:
            raise ValueError(
                f"a text of this model reads {together} images together, as a tuple; given {len(wrong[0])}."
            )
    if texts is not None:
        sentences = list(texts) if many else [texts]
    if sets is not None and sentences is not None and len(sets) != len(sentences):
        raise ValueError(f"{len(sets)} images but {len(sentences)} texts were given: expected one each.")
    if not (sets or sentences):
        raise ValueError("there is nothing to classify: the list is empty.")
    return many, sets, sentences


def _logits(model: Any, processor: Processor, sets: Any, sentences: Any, clips: bool) -> Tensor:
    objective = model.objectives["classification"]
    ids = mask = pixels = owner = text_owner = None
    if sentences:
        plain = objective.reads == "text"
        ids, mask = processor.sentences(sentences) if plain else processor.captions(sentences)
    if sets:
        flat = [image for one in sets for image in one]
        pixels = processor.clips(flat) if clips else processor.images(flat)
        owner = torch.arange(len(flat))
        if objective.contexts > 1:
            text_owner = torch.arange(len(sets)).repeat_interleave(objective.contexts)
    batch = Batch(text_ids=ids, text_mask=mask, pixels=pixels, owner=owner, text_owner=text_owner).to(model.device)
    encoded = model.encode(batch, objective.needs)
    return objective.logits(encoded, model.read(objective.requests(encoded))).float().cpu()


def _label(logits: Tensor, names: Sequence[str], best: int) -> Label:
    probabilities = logits.softmax(dim=-1)
    order = probabilities.argsort(descending=True)[: max(best, 1)].tolist()
    named = [(names[i] if names else str(i), float(probabilities[i])) for i in order]
    return Label(order[0], *named[0], tuple(named[1:]))
