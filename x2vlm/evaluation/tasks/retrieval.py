"""Two-stage retrieval, both ways: the nearest by cosine, then the best matching of those.

The keys and values of a context are projected once and shared by every text that is scored against it, whichever
direction asked for the pair; a pair that both directions ask for is scored once.

Shape letters: C distinct contexts, T texts, R queries, P pairs to score, k candidates per query.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from mmengine.logging import print_log
from torch import Tensor

from x2vlm.building import build, called
from x2vlm.data.batch import Batch
from x2vlm.distributed import all_gather_objects, world_size
from x2vlm.evaluation.metrics.candidate_ranks import ranks_from_candidates
from x2vlm.evaluation.metrics.recall import NOT_SCORED, best_ranks, chance_recall, r_mean, recalls_of_ranks
from x2vlm.gallery.feature_store import FeatureStore
from x2vlm.gallery.index import NOWHERE, search_together
from x2vlm.gallery.matching import match_logits, texts_near
from x2vlm.gallery.retrieval_features import RetrievalFeatures, encode_retrieval_set
from x2vlm.gallery.stored_gallery import StoredGallery
from x2vlm.models.eval_mode import eval_mode
from x2vlm.registry import INDEXES, METRICS


@dataclass(frozen=True)
class Searched:
    """What retrieval searches, wherever it lies.

    Attributes:
        context_ids: ``[C]`` identities, all different.
        text_ids: ``[T]`` identities of what the texts describe.
        contexts: ``C`` features.
        texts: ``T`` features.
        score: Matching logits ``[P]`` of pairs: which contexts ``[P]``, sorted, and which texts ``[P]``.
    """

    context_ids: Tensor
    text_ids: Tensor
    contexts: FeatureStore
    texts: FeatureStore
    score: Callable[[Tensor, Tensor], Tensor]


@METRICS.register_module()
class RetrievalMetric:
    """Recall at 1, 5 and 10 of texts given contexts (i2t) and of contexts given texts (t2i), in percent.

    Contexts are images, regions, videos or sentences, whatever the batches hold. The first stage ranks by cosine. The
    second replaces, for each query, the scores of the ``k`` nearest by the matching logit (the cosine is not added) and
    puts all others behind them. A query counts as found at the best place of its right candidates.

    Args:
        k: Candidates per query that are scored again (published: 80 for COCO at 384 pixels, 32 for Flickr30K).
        rerank: False stops after the first stage, for models without matching.
        chunk: Pairs scored at once, and rows of the similarity matrix held at once: the bound of memory.
        at: The K of the recalls.
        index: What finds the nearest, e.g. ``dict(type="FaissIVF", probes=32)``; see :mod:`x2vlm.gallery.index`.
            None: all cosines, in main memory (of a gallery on disk: ``ExactIndex``).
    """

    def __init__(
        self,
        k: int = 32,
        rerank: bool = True,
        chunk: int = 256,
        at: Sequence[int] = (1, 5, 10),
        index: Mapping[str, Any] | None = None,
    ) -> None:
        if min(k, chunk, *at) < 1:
            raise ValueError(f"k, chunk and at are counts from 1; given k={k}, chunk={chunk}, at={tuple(at)}.")
        self.k, self.rerank, self.chunk, self.at = k, rerank, chunk, tuple(at)
        self.index = index
        if index is not None:
            build(INDEXES, index, "index")  # mistakes are told now; each search fills one of its own

    def evaluate(self, model: Any, loader: Iterable[Batch]) -> dict[str, float]:
        """Search everything the loaders of all processes yield.

        Returns:
            Percentages: ``i2t_r1 ... t2i_r10`` and their mean ``r_mean``; where a second stage ran, the same of the
            first alone as ``itc_i2t_r1 ...``; and as ``chance_i2t_r1 ...`` what a random order would give.
        """
        self._check(model)
        with eval_mode(model):
            bank = encode_retrieval_set(model, loader)
            searched = Searched(
                bank.context_ids,
                bank.text_ids,
                FeatureStore.of(bank.context_feats, world_size()),
                FeatureStore.of(bank.texts.feat, world_size()),
                partial(score_pairs, model, bank, chunk=self.chunk),
            )
            return self.judge(searched, self.index)

    def judge(
        self, searched: Searched, index: Mapping[str, Any] | None, device: torch.device | str = "cpu"
    ) -> dict[str, float]:
        """The figures of :meth:`evaluate` for what is encoded already.

        Args:
            searched: Contexts and texts.
            index: What finds the nearest; None computes all cosines in main memory.
            device: Where an index computes its products.
        """
        ids = searched.context_ids, searched.text_ids
        i2t, texts_of = self._nearest(searched.contexts, searched.texts, *ids, index, device)
        t2i, contexts_of = self._nearest(searched.texts, searched.contexts, *ids[::-1], index, device)
        results = recalls_of_ranks(i2t, t2i, self.at)
        if self.rerank:
            first = {f"itc_{name}": value for name, value in results.items()}
            of_contexts, of_texts = score_candidates(searched.score, texts_of, contexts_of)
            ranks = (
                ranks_from_candidates(of_contexts, texts_of, *ids),
                ranks_from_candidates(of_texts, contexts_of, *ids[::-1]),
            )
            results = recalls_of_ranks(*ranks, self.at) | first
        chance = self._chance(*ids)
        self._log(*map(len, ids), index, chance)
        return results | chance

    def judge_stored(
        self, gallery: StoredGallery, score: Callable[[Tensor, Tensor], Tensor], device: torch.device | str = "cpu"
    ) -> dict[str, float]:
        """The figures of :meth:`evaluate` for a gallery on disk; all processes together.

        Args:
            gallery: The gallery.
            score: Matching logits of pairs; see :func:`x2vlm.gallery.rerank.gallery_scorer`.
            device: Where an index computes its products.
        """
        searched = Searched(gallery.context_ids, gallery.text_ids, gallery.contexts, gallery.texts, score)
        return self.judge(searched, self.index or {"type": "ExactIndex"}, device)

    def _nearest(
        self,
        rows: FeatureStore,
        columns: FeatureStore,
        row_ids: Tensor,
        column_ids: Tensor,
        index: Any,
        device: torch.device | str,
    ) -> tuple[Tensor, Tensor]:
        """Places of the best right candidates, ``[R]``, and the ``k`` nearest, ``[R, k]``."""
        if index is None:
            return nearest(in_memory(rows), in_memory(columns), row_ids, column_ids, self.k, self.chunk)
        scores, found = search_together(build(INDEXES, index), columns, rows, max(self.k, *self.at), device)
        met = ((column_ids[found] == row_ids[:, None]) & (found != NOWHERE)).any(dim=1)
        places = ranks_from_candidates(scores, found, row_ids, column_ids)
        return places.where(met, len(columns)), found[:, : self.k]  # what an index misses is behind everything

    def _chance(self, context_ids: Tensor, text_ids: Tensor) -> dict[str, float]:
        both = {"i2t": (context_ids, text_ids), "t2i": (text_ids, context_ids)}
        recalls = {f"chance_{way}_r{k}": 100 * chance_recall(*ids, k) for way, ids in both.items() for k in self.at}
        return recalls | {"chance_r_mean": r_mean(list(recalls.values()))}

    def _check(self, model: Any) -> None:
        if self.rerank and "itm" not in model.objectives:
            raise ValueError(
                "RetrievalMetric(rerank=True) scores pairs with objective 'itm', but this model's objectives are: "
                f"{', '.join(model.objectives) or 'none'}. Set rerank=False, or add the objective."
            )

    def _log(self, contexts: int, texts: int, index: Any, chance: dict[str, float]) -> None:
        by = "by cosine" if index is None else f"by cosine with {called(index['type'])}"
        second = f"the {self.k} nearest of each query ranked again by the matching logit, all others behind them"
        print_log(
            f"retrieval among {contexts} contexts and {texts} texts, both ways: {by}"
            f"{', then ' + second if self.rerank else ' alone'}. A random order would find "
            f"{chance[f'chance_i2t_r{self.at[0]}']:.2f} % (i2t) and {chance[f'chance_t2i_r{self.at[0]}']:.2f} % (t2i) "
            f"at R@{self.at[0]}.",
            logger="current",
        )


def nearest(
    rows: Tensor, columns: Tensor, row_ids: Tensor, column_ids: Tensor, k: int, chunk: int
) -> tuple[Tensor, Tensor]:
    """Rank candidates by cosine, a few queries at a time.

    Args:
        rows: ``[R, E]`` normalised features of the queries.
        columns: ``[C, E]`` of the candidates.
        row_ids: ``[R]`` identities.
        column_ids: ``[C]`` identities.
        k: How many candidates to name for each query; all if there are fewer.
        chunk: Queries at a time.

    Returns:
        The place of the best right candidate, ``[R]`` from 0, and the nearest candidates, ``[R, k]``.
    """
    ranks, top = [], []
    for feats, ids in zip(rows.float().split(chunk), row_ids.split(chunk), strict=True):
        similarity = feats @ columns.float().T
        ranks.append(best_ranks(similarity, ids, column_ids))
        top.append(similarity.topk(min(k, len(columns)), dim=1).indices)
    return torch.cat(ranks), torch.cat(top)


def in_memory(rows: FeatureStore) -> Tensor:
    """All of the features, ``[C, E]``."""
    return next(rows.chunks(len(rows)))[1]


def score_candidates(
    score: Callable[[Tensor, Tensor], Tensor], texts_of: Tensor, contexts_of: Tensor
) -> tuple[Tensor, Tensor]:
    """Matching logits of the candidates of each query; a pair that both directions ask for is scored once.

    Args:
        score: Logits ``[P]`` of pairs: which contexts ``[P]``, sorted, and which texts ``[P]``.
        texts_of: ``[C, k]``, the texts to score for each context; ``NOWHERE`` where there is none.
        contexts_of: ``[T, k]``, the contexts to score for each text.

    Returns:
        ``[C, k]`` and ``[T, k]``; -inf where there is no candidate.
    """
    contexts, texts = len(texts_of), len(contexts_of)
    by_context = torch.arange(contexts)[:, None] * texts + texts_of  # [C, k], one number per pair
    by_text = contexts_of * texts + torch.arange(texts)[:, None]  # [T, k]
    there = texts_of != NOWHERE, contexts_of != NOWHERE
    wanted = by_context[there[0]], by_text[there[1]]
    pairs = torch.unique(torch.cat(wanted))  # [P], sorted by context
    scores = score(pairs // texts, pairs % texts)
    results = []
    for is_there, some in zip(there, wanted, strict=True):
        found = torch.full(is_there.shape, -torch.inf)
        found[is_there] = scores[torch.searchsorted(pairs, some)]
        results.append(found)
    return results[0], results[1]


def score_matrices(model: Any, bank: RetrievalFeatures, k: int, chunk: int = 256) -> tuple[Tensor, Tensor]:
    """Both full matrices of the published evaluation, for looking at and for comparing; ``R@K`` does not need them.

    Args:
        model: The model, with objective ``itm``.
        bank: What is searched.
        k: Candidates per query.
        chunk: Pairs at a time.

    Returns:
        Scores of the texts for each context, ``[C, T]``, and of the contexts for each text, ``[T, C]``: the matching
        logit of the ``k`` nearest by cosine, -100 for all others.
    """
    ids = bank.context_ids, bank.text_ids
    texts_of = nearest(bank.context_feats, bank.texts.feat, *ids, k, chunk)[1]
    contexts_of = nearest(bank.texts.feat, bank.context_feats, *ids[::-1], k, chunk)[1]
    scores = score_candidates(partial(score_pairs, model, bank, chunk=chunk), texts_of, contexts_of)
    sizes = (len(bank.context_ids), len(bank.text_ids)), (len(bank.text_ids), len(bank.context_ids))
    return tuple(
        torch.full(size, NOT_SCORED).scatter_(1, chosen, some)
        for size, chosen, some in zip(sizes, (texts_of, contexts_of), scores, strict=True)
    )


def score_pairs(model: Any, bank: RetrievalFeatures, contexts: Tensor, texts: Tensor, chunk: int) -> Tensor:
    """Matching logits of pairs, each scored by the process that holds its context.

    Args:
        model: The model, with objective ``itm``.
        bank: What is searched.
        contexts: ``[P]``, sorted, which of the bank's contexts.
        texts: ``[P]``, which of its texts.
        chunk: Pairs at a time.

    Returns:
        ``[P]``, the same in every process.
    """
    done, near = [], texts_near(bank.texts, model.device)
    for part, columns in zip(bank.own, bank.columns, strict=True):
        first, last = (torch.searchsorted(contexts, columns, right=right) for right in (False, True))
        which = torch.repeat_interleave(torch.arange(len(part)), last - first)
        pairs = torch.cat([torch.arange(a, b) for a, b in zip(first.tolist(), last.tolist(), strict=True)])
        done.append((pairs, match_logits(model, part, which, near, texts[pairs], chunk)))
    scores = torch.full((len(contexts),), float("nan"))
    for process in all_gather_objects(done):
        for pairs, logits in process:
            scores[pairs] = logits
    return scores
