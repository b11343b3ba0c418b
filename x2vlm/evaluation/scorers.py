"""Scores of pairs of a context and a text for zero-shot tasks, registered by name; the name prefixes every metric.

Shape letters: P pairs to score.
"""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor

from x2vlm.building import suggestion
from x2vlm.evaluation.required_objective import require_objective
from x2vlm.gallery.reranking.rerank_key_values import matching_logits
from x2vlm.models.outputs import Context, TextStates
from x2vlm.registry import SCORERS

Scorer = Callable[[Any, Context, Tensor, TextStates, Tensor, int], Tensor]
"""``(model, contexts, context_index [P], texts, text_index [P], chunk) -> [P]``: higher for a better match."""


@SCORERS.register_module(name="itc")
def itc(
    model: Any, contexts: Context, context_index: Tensor, texts: TextStates, text_index: Tensor, chunk: int = 256
) -> Tensor:
    """Cosine of the features of context and text, in -1..1."""
    if contexts.feat is None or texts.feat is None:
        raise ValueError("scorer 'itc' compares features, but this model has none (embed_dim=None). Use 'itm'.")
    pairs = zip(context_index.split(chunk), text_index.split(chunk), strict=True)
    return torch.cat([(contexts.feat[c].float() * texts.feat[t].float()).sum(dim=-1) for c, t in pairs]).cpu()


@SCORERS.register_module(name="itm")
def itm(
    model: Any, contexts: Context, context_index: Tensor, texts: TextStates, text_index: Tensor, chunk: int = 256
) -> Tensor:
    """Matching probability of objective ``itm``, in 0..1."""
    require_objective(model, "itm", "scorer 'itm'", "Use 'itc'.")
    return matching_logits(model, contexts, context_index, texts, text_index, chunk).softmax(dim=-1)[:, 1]


@SCORERS.register_module(name="itc+itm")
def itc_and_itm(
    model: Any, contexts: Context, context_index: Tensor, texts: TextStates, text_index: Tensor, chunk: int = 256
) -> Tensor:
    """The sum of both: cosine plus matching probability."""
    pairs = (model, contexts, context_index, texts, text_index, chunk)
    return itc(*pairs) + itm(*pairs)


def scorer(name: str) -> Scorer:
    """The scorer of that name.

    Raises:
        ValueError: If there is none.
    """
    accepted = SCORERS.module_dict
    if name not in accepted:
        raise ValueError(f"scorer {name!r} is not known.{suggestion(name, accepted)} Accepted: {', '.join(accepted)}.")
    return accepted[name]


def scorers(names: str | Iterable[str]) -> dict[str, Scorer]:
    """The scorers of one name or several, by name, in their order."""
    return {name: scorer(name) for name in ([names] if isinstance(names, str) else names)}
