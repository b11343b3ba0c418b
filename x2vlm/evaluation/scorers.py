"""Named ways to say how well a text fits a context, for tasks without training; the name belongs to every number.

Shape letters: P pairs to score.
"""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor

from x2vlm.building import suggestion
from x2vlm.gallery.matching import matching_logits
from x2vlm.models.outputs import Context, TextStates
from x2vlm.registry import SCORERS

Scorer = Callable[[Any, Context, Tensor, TextStates, Tensor, int], Tensor]
"""``(model, contexts, which [P], texts, text_index [P], chunk) -> [P]``: higher where the text fits better."""


@SCORERS.register_module(name="itc")
def itc(
    model: Any, contexts: Context, which: Tensor, texts: TextStates, text_index: Tensor, chunk: int = 256
) -> Tensor:
    """Cosine of the features of context and text, in -1..1."""
    if contexts.feat is None or texts.feat is None:
        raise ValueError("scorer 'itc' compares features, but this model has none (embed_dim=None). Use 'itm'.")
    pairs = zip(which.split(chunk), text_index.split(chunk), strict=True)
    return torch.cat([(contexts.feat[w].float() * texts.feat[t].float()).sum(dim=-1) for w, t in pairs]).cpu()


@SCORERS.register_module(name="itm")
def itm(
    model: Any, contexts: Context, which: Tensor, texts: TextStates, text_index: Tensor, chunk: int = 256
) -> Tensor:
    """Probability that the text matches, by objective ``itm``, in 0..1."""
    if "itm" not in model.objectives:
        raise ValueError(
            f"scorer 'itm' needs objective 'itm', but this model's objectives are: "
            f"{', '.join(model.objectives) or 'none'}. Use 'itc'."
        )
    return matching_logits(model, contexts, which, texts, text_index, chunk).softmax(dim=-1)[:, 1]


@SCORERS.register_module(name="itc+itm")
def itc_and_itm(
    model: Any, contexts: Context, which: Tensor, texts: TextStates, text_index: Tensor, chunk: int = 256
) -> Tensor:
    """The sum of both: cosine plus probability of matching."""
    pairs = (model, contexts, which, texts, text_index, chunk)
    return itc(*pairs) + itm(*pairs)


def scorer(name: str) -> Scorer:
    """The scorer of that name.

    Raises:
        ValueError: If there is none.
    """
    known = SCORERS.module_dict
    if name not in known:
        raise ValueError(f"scorer {name!r} is not known.{suggestion(name, known)} Accepted: {', '.join(known)}.")
    return known[name]


def scorers(names: str | Iterable[str]) -> dict[str, Scorer]:
    """Scorers by name, of one name or several, in their order."""
    return {name: scorer(name) for name in ([names] if isinstance(names, str) else names)}
