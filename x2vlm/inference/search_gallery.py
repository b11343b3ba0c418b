"""Search a gallery on disk with texts: nearest contexts by cosine, re-ranked by the matching logit."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from x2vlm.building import build
from x2vlm.data.batch import Sample
from x2vlm.data.transforms.texts.text_cleaning import clean_caption
from x2vlm.data.transforms.texts.text_transforms import AllCaptions, PickCaption
from x2vlm.evaluation.tasks.retrieval import RetrievalMetric
from x2vlm.gallery.feature_store import FeatureStore
from x2vlm.gallery.gallery_dataset import GalleryData
from x2vlm.gallery.nearest_neighbours import NO_CANDIDATE, search_distributed
from x2vlm.gallery.ragged_tokens import RaggedTokens, encode_texts
from x2vlm.gallery.reranking.rerank_jobs import read_stored_contexts, reencode_contexts, score_pairs_resumable
from x2vlm.gallery.stored_gallery import StoredGallery
from x2vlm.models.eval_mode import eval_mode
from x2vlm.models.outputs import TextStates
from x2vlm.registry import INDEXES


@dataclass(frozen=True)
class SearchResult:
    """A context of the gallery.

    Attributes:
        where: File and line (or the like) of its record.
        record: Index of that record.
        pair: Position among the pairs of that record.
        similarity: Cosine of the features, -1..1.
        matching: Logit of class "matches" of objective ``itm``; None without re-ranking.
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
) -> list[list[SearchResult]]:
    """The best contexts for each text; all processes together.

    Args:
        model: The model.
        data: The data set of the gallery.
        gallery: The gallery.
        texts: One or more queries.
        k: Contexts to return for each query.
        metric: Defines the index, how many of the nearest are re-ranked, and the weight of the cosine in that.
        scores: Folder for the scores of pairs.

    Returns:
        The contexts of each text, best first.
    """
    tokens = tokenize_queries(data, texts)
    with eval_mode(model):
        encoded = encode_texts(model, tokens)
    num_candidates = max(k, metric.k) if metric.rerank else k
    index = build(INDEXES, metric.index or {"type": "ExactIndex"}, "index")
    queries = FeatureStore.from_tensor(encoded.feat)
    cosines, candidates = search_distributed(index, gallery.context_feats, queries, num_candidates, model.device)
    if metric.rerank:
        folder = scores / query_digest(tokens)
        logits = _matching_logits(model, data, gallery, encoded, candidates, folder, metric.chunk)
    ranked_by = logits if metric.rerank else cosines
    if metric.rerank and metric.cosine_weight:
        ranked_by = logits + metric.cosine_weight * cosines
    ranking = ranked_by.argsort(dim=1, descending=True, stable=True)[:, :k]
    return [
        [
            _result(
                gallery,
                int(candidates[row, column]),
                float(cosines[row, column]),
                float(logits[row, column]) if metric.rerank else None,
            )
            for column in columns.tolist()
            if candidates[row, column] != NO_CANDIDATE
        ]
        for row, columns in enumerate(ranking)
    ]


def _matching_logits(
    model: Any,
    data: GalleryData,
    gallery: StoredGallery,
    texts: TextStates,
    candidates: Tensor,
    folder: Path,
    chunk: int,
) -> Tensor:
    """Matching logits of the candidates ``[R, k]`` of each text; -inf where there is none."""
    read_contexts = (
        partial(read_stored_contexts, gallery)
        if gallery.has_context_tokens
        else partial(reencode_contexts, model, data, gallery)
    )
    mask = candidates != NO_CANDIDATE
    contexts, text_index = candidates[mask], torch.arange(len(texts))[:, None].expand_as(candidates)[mask]
    order = contexts.argsort(stable=True)
    pairs = contexts[order], text_index[order]
    logits = torch.full(candidates.shape, -torch.inf)
    scores = score_pairs_resumable(model, read_contexts, texts.select, *pairs, folder, chunk)
    logits[mask] = scores[order.argsort()]
    return logits


def tokenize_queries(data: GalleryData, texts: Sequence[str]) -> RaggedTokens:
    """Token ids of texts, prepared like the captions of the data set: cleaned, truncated, tokenized."""
    steps = [step for step in getattr(data.dataset, "pipeline", ()) if isinstance(step, (AllCaptions, PickCaption))]
    tokens = []
    for number, text in enumerate(texts, start=1):
        where = f"query {number}"
        record = {"where": where, "id": where, "caption": text}
        batch = data.collate([Sample(where, [steps[0](record)["texts"][0] if steps else clean_caption(text)])])
        tokens.append(RaggedTokens.from_padded(batch.text_ids, batch.text_mask))
    return RaggedTokens.join(tokens)


def query_digest(tokens: RaggedTokens) -> str:
    """A folder name for the scores of these texts, different for other texts."""
    digest = hashlib.sha256(tokens.tokens.numpy().tobytes())
    digest.update(tokens.ends.numpy().tobytes())
    return f"queries-{digest.hexdigest()[:16]}"


def _result(gallery: StoredGallery, context: int, similarity: float, logit: float | None) -> SearchResult:
    record, pair = int(gallery.context_records[context]), int(gallery.context_pairs[context])
    return SearchResult(gallery.where(context), record, pair, similarity, logit)
