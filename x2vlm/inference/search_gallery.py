"""Search a gallery on disk with words: the nearest by cosine, then the best matching of those."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch

from x2vlm.building import build
from x2vlm.data.batch import Sample
from x2vlm.data.transforms.text import AllCaptions, PickCaption
from x2vlm.data.transforms.text_cleaning import clean_caption
from x2vlm.evaluation.tasks.retrieval import RetrievalMetric
from x2vlm.gallery.feature_store import FeatureStore
from x2vlm.gallery.gallery_dataset import GalleryData
from x2vlm.gallery.index import NOWHERE, search_together
from x2vlm.gallery.ragged_tokens import RaggedTokens, encode_words
from x2vlm.gallery.rerank import encoded_again, score_stored, stored_contexts
from x2vlm.gallery.stored_gallery import StoredGallery
from x2vlm.models.eval_mode import eval_mode
from x2vlm.registry import INDEXES


@dataclass(frozen=True)
class FoundContext:
    """A context that fits.

    Attributes:
        where: The place of its record.
        record: The number of that record.
        pair: Which of the pairs of that record.
        similarity: Cosine of the features, -1..1.
        matching: Logit of "they match", by the matching objective; None where it was not asked.
    """

    where: str
    record: int
    pair: int
    similarity: float
    matching: float | None


def search_texts(
    model: Any,
    data: GalleryData,
    gallery: StoredGallery,
    texts: Sequence[str],
    k: int,
    metric: RetrievalMetric,
    scores: Path,
) -> list[list[FoundContext]]:
    """The contexts that fit each text best; all processes together.

    Args:
        model: The model.
        data: What the gallery was made of.
        gallery: The gallery.
        texts: One or more, as a person writes them.
        k: Contexts to tell.
        metric: Says by which index, and how many of the nearest are ranked again.
        scores: Folder for the scores of pairs.

    Returns:
        For each text its contexts, best first.
    """
    words = words_of(data, texts)
    with eval_mode(model):
        view = encode_words(model, words)
    nearest = max(k, metric.k) if metric.rerank else k
    index = build(INDEXES, metric.index or {"type": "ExactIndex"}, "index")
    similar, found = search_together(index, gallery.contexts, FeatureStore.of(view.feat), nearest, model.device)
    there = found != NOWHERE
    logits = torch.full(found.shape, -torch.inf)
    if metric.rerank:
        contexts_of = stored_contexts if gallery.has_context_tokens else partial(encoded_again, model, data)
        order = found[there].argsort(stable=True)
        queries = torch.arange(len(texts))[:, None].expand_as(found)[there]
        scored = score_stored(
            model,
            partial(contexts_of, gallery),
            view.select,
            found[there][order],
            queries[order],
            scores / words_digest(words),
            metric.chunk,
        )
        logits[there] = scored[order.argsort()]
    best = (logits if metric.rerank else similar).argsort(dim=1, descending=True, stable=True)[:, :k]
    return [
        [
            _found(gallery, int(found[row, place]), float(similar[row, place]), float(logits[row, place]), metric)
            for place in places.tolist()
            if there[row, place]
        ]
        for row, places in enumerate(best)
    ]


def words_of(data: GalleryData, texts: Sequence[str]) -> RaggedTokens:
    """Texts as the data's own captions become tokens: picked, cleaned, cut."""
    steps = [step for step in getattr(data.dataset, "pipeline", ()) if isinstance(step, (AllCaptions, PickCaption))]
    parts = []
    for number, text in enumerate(texts, start=1):
        where = f"query {number}"
        said = steps[0]({"where": where, "id": where, "caption": text})["texts"][0] if steps else clean_caption(text)
        batch = data.collate([Sample(where, [said])])
        parts.append(RaggedTokens.of(batch.text_ids, batch.text_mask))
    return RaggedTokens.join(parts)


def words_digest(words: RaggedTokens) -> str:
    """A name for these texts: scores of other texts must not be taken for theirs."""
    digest = hashlib.sha256(words.tokens.numpy().tobytes())
    digest.update(words.ends.numpy().tobytes())
    return f"queries-{digest.hexdigest()[:16]}"


def _found(
    gallery: StoredGallery, number: int, similarity: float, logit: float, metric: RetrievalMetric
) -> FoundContext:
    record, pair = int(gallery.context_records[number]), int(gallery.context_pairs[number])
    return FoundContext(gallery.where(number), record, pair, similarity, logit if metric.rerank else None)
