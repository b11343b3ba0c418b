"""Two-stage retrieval in both directions: candidates by cosine, re-ranked by the matching logit.

Shape letters: C distinct contexts, T texts, R queries, P pairs to score, k candidates per query.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from mmengine.logging import print_log
from torch import Tensor

from x2vlm.building import build, called
from x2vlm.data.batch import Batch
from x2vlm.distributed import world_size
from x2vlm.evaluation.metrics.candidate_ranks import ranks_from_candidates
from x2vlm.evaluation.metrics.recall import best_ranks, chance_recall, r_mean, recalls_from_ranks
from x2vlm.evaluation.required_objective import require_objective
from x2vlm.gallery.encode_in_memory import encode_retrieval_set
from x2vlm.gallery.feature_store import FeatureStore
from x2vlm.gallery.nearest_neighbours import NO_CANDIDATE, search_distributed
from x2vlm.gallery.reranking.rerank_candidates import (
    PairScorer,
    score_candidates,
    score_pairs_in_memory,
    similarity_chunks,
)
from x2vlm.gallery.stored_gallery import StoredGallery
from x2vlm.models.eval_mode import eval_mode
from x2vlm.registry import INDEXES, METRICS


@dataclass(frozen=True)
class RetrievalSet:
    """Encoded contexts and texts, in memory or on disk, and how their pairs are scored.

    Attributes:
        context_ids: ``[C]`` identities, all different.
        text_ids: ``[T]`` identities of the contexts that the texts describe.
        context_feats: ``C`` features.
        text_feats: ``T`` features.
        score: Matching logits of pairs.
    """

    context_ids: Tensor
    text_ids: Tensor
    context_feats: FeatureStore
    text_feats: FeatureStore
    score: PairScorer


@METRICS.register_module()
class RetrievalMetric:
    """Recall at 1, 5 and 10 of texts given contexts (i2t) and of contexts given texts (t2i), in percent.

    Contexts are images, regions, videos or sentences, whatever the batches hold. The first stage ranks by cosine. The
    second replaces, for each query, the scores of the ``k`` nearest by the matching logit (to which the cosine is added
    only if ``cosine_weight`` says so) and ranks all others behind them. A query counts by the rank of its best
    positive.

    Args:
        k: Candidates per query that are re-ranked (published: 80 for COCO at 384 pixels, 32 for Flickr30K).
        rerank: False omits the second stage, for models without matching.
        chunk: Pairs scored at once, and rows of the similarity matrix computed at once: the bound of memory.
        at: The K of the recalls.
        index: The index that searches the first stage, e.g. ``dict(type="FaissIVF", probes=32)``; see
            :mod:`x2vlm.gallery.nearest_neighbours`. None: all cosines, in main memory (of a gallery on disk:
            ``ExactIndex``).
        cosine_weight: Add so many times the cosine to the matching logit of a candidate; 0 as published. BLIP
            (arXiv:2201.12086) adds the cosine once. Where matching has seen few pairs, 1 / temperature, the scale of
            contrast's own logits, lets the first stage have its say.
    """

    def __init__(
        self,
        k: int = 32,
        rerank: bool = True,
        chunk: int = 256,
        at: Sequence[int] = (1, 5, 10),
        index: Mapping[str, Any] | None = None,
        cosine_weight: float = 0.0,
    ) -> None:
        if cosine_weight < 0 or (cosine_weight and not rerank):
            raise ValueError(f"cosine_weight is {cosine_weight}; expected 0 or more, with rerank=True.")
        self.cosine_weight = cosine_weight
        if min(k, chunk, *at) < 1:
            raise ValueError(f"k, chunk and at are counts from 1; given k={k}, chunk={chunk}, at={tuple(at)}.")
        self.k, self.rerank, self.chunk, self.at = k, rerank, chunk, tuple(at)
        self.index = index
        if index is not None:
            build(INDEXES, index, "index")  # reports mistakes early; each search fills an index of its own

    def called_methods(self, objectives: Iterable[str]) -> dict[str, tuple[str, ...]]:
        """What an evaluation calls of the model's objectives, by their names."""
        return {"itm": ("score",)} if self.rerank else {}

    def evaluate(self, model: Any, loader: Iterable[Batch]) -> dict[str, float]:
        """Encode and search what the loaders of all processes yield, each its own share.

        Returns:
            Percentages: ``i2t_r1 ... t2i_r10`` and their mean ``r_mean``; with a second stage, the same of the first
            stage as ``itc_i2t_r1 ...``; and of a random order as ``chance_i2t_r1 ...``.

        Raises:
            ValueError: If the model lacks objective ``itm``, there are no pairs, or a score is not a number.
        """
        if self.rerank:
            advice = "Set rerank=False, or add the objective."
            require_objective(model, "itm", "RetrievalMetric(rerank=True)", advice)
        with eval_mode(model):
            features = encode_retrieval_set(model, loader)
            retrieval_set = RetrievalSet(
                features.context_ids,
                features.text_ids,
                FeatureStore.from_tensor(features.context_feats, world_size()),
                FeatureStore.from_tensor(features.texts.feat, world_size()),
                partial(score_pairs_in_memory, model, features, chunk=self.chunk),
            )
            return self.evaluate_features(retrieval_set, self.index)

    def evaluate_features(
        self, retrieval_set: RetrievalSet, index: Mapping[str, Any] | None, device: torch.device | str = "cpu"
    ) -> dict[str, float]:
        """The metrics of :meth:`evaluate` for encoded contexts and texts.

        Args:
            retrieval_set: Contexts and texts.
            index: The index that searches the first stage; None computes all cosines in main memory.
            device: Where an index computes its products.
        """
        ids = retrieval_set.context_ids, retrieval_set.text_ids
        feats = retrieval_set.context_feats, retrieval_set.text_feats
        i2t, texts_of, text_cosines = self._first_stage(*feats, *ids, index, device)
        t2i, contexts_of, context_cosines = self._first_stage(*feats[::-1], *ids[::-1], index, device)
        results = recalls_from_ranks(i2t, t2i, self.at)
        if self.rerank:
            first_stage = {f"itc_{name}": value for name, value in results.items()}
            text_scores, context_scores = score_candidates(retrieval_set.score, texts_of, contexts_of)
            if self.cosine_weight:  # one more for all, so that no candidate falls behind those that are none
                text_scores += self.cosine_weight * (1 + text_cosines)
                context_scores += self.cosine_weight * (1 + context_cosines)
            ranks = (
                ranks_from_candidates(text_scores, texts_of, *ids),
                ranks_from_candidates(context_scores, contexts_of, *ids[::-1]),
            )
            results = recalls_from_ranks(*ranks, self.at) | first_stage
        chance = self._chance(*ids)
        self._log(*map(len, ids), index, chance)
        return results | chance

    def evaluate_stored(
        self, gallery: StoredGallery, score: PairScorer, device: torch.device | str = "cpu"
    ) -> dict[str, float]:
        """The metrics of :meth:`evaluate` for a gallery on disk; all processes together.

        Args:
            gallery: The gallery.
            score: Matching logits of pairs; see :func:`x2vlm.gallery.reranking.rerank_jobs.gallery_scorer`.
            device: Where an index computes its products.
        """
        retrieval_set = RetrievalSet(
            gallery.context_ids, gallery.text_ids, gallery.context_feats, gallery.text_feats, score
        )
        return self.evaluate_features(retrieval_set, self.index or {"type": "ExactIndex"}, device)

    def _first_stage(
        self,
        queries: FeatureStore,
        gallery: FeatureStore,
        query_ids: Tensor,
        gallery_ids: Tensor,
        index: Any,
        device: torch.device | str,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Ranks of the best positives, ``[R]``; the ``k`` nearest candidates and their cosines, ``[R, k]``."""
        if index is None:
            return ranks_and_candidates(
                queries.read_all(), gallery.read_all(), query_ids, gallery_ids, self.k, self.chunk
            )
        max_k = max(self.k, *self.at)
        scores, candidates = search_distributed(build(INDEXES, index), gallery, queries, max_k, device)
        found = ((gallery_ids[candidates] == query_ids[:, None]) & (candidates != NO_CANDIDATE)).any(dim=1)
        ranks = ranks_from_candidates(scores, candidates, query_ids, gallery_ids)
        ranks = ranks.where(found, len(gallery))  # a missed positive ranks last
        return ranks, candidates[:, : self.k], scores[:, : self.k]

    def _chance(self, context_ids: Tensor, text_ids: Tensor) -> dict[str, float]:
        directions = {"i2t": (context_ids, text_ids), "t2i": (text_ids, context_ids)}
        recalls = {
            f"chance_{name}_r{k}": 100 * chance_recall(*ids, k) for name, ids in directions.items() for k in self.at
        }
        return recalls | {"chance_r_mean": r_mean(list(recalls.values()))}

    def _log(self, contexts: int, texts: int, index: Any, chance: dict[str, float]) -> None:
        first = "by cosine" if index is None else f"by cosine with {called(index['type'])}"
        added = f" plus {self.cosine_weight:g} times the cosine" if self.cosine_weight else ""
        second = f", then the {self.k} nearest of each query re-ranked by the matching logit{added}, all others behind"
        print_log(
            f"retrieval among {contexts} contexts and {texts} texts, both directions: {first}"
            f"{second if self.rerank else ''}. A random order would get "
            f"{chance[f'chance_i2t_r{self.at[0]}']:.2f} % (i2t) and {chance[f'chance_t2i_r{self.at[0]}']:.2f} % (t2i) "
            f"at R@{self.at[0]}.",
            logger="current",
        )


def ranks_and_candidates(
    queries: Tensor, gallery: Tensor, query_ids: Tensor, gallery_ids: Tensor, k: int, chunk: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Rank of the best positive by cosine, and the nearest candidates, computed for ``chunk`` queries at a time.

    Args:
        queries: ``[R, E]`` L2-normalised features.
        gallery: ``[C, E]``, likewise.
        query_ids: ``[R]`` identities.
        gallery_ids: ``[C]`` identities.
        k: Candidates per query; all if there are fewer.
        chunk: Queries at a time.

    Returns:
        Ranks ``[R]`` from 0, candidates ``[R, k]``, and their cosines ``[R, k]``.
    """
    ranks, nearest = [], []
    for cosines, ids in zip(similarity_chunks(queries, gallery, chunk), query_ids.split(chunk), strict=True):
        ranks.append(best_ranks(cosines, ids, gallery_ids))
        nearest.append(cosines.topk(min(k, len(gallery)), dim=1))
    return torch.cat(ranks), torch.cat([each.indices for each in nearest]), torch.cat([each.values for each in nearest])
