"""State dicts of the published checkpoints, in both directions.

Parameters are renamed (:mod:`x2vlm.weights.published_names`). Three sorts of published tensors have no counterpart:

- derived tensors (indices of positions, tied copies) are left out, and computed again on the way back;
- tensors that no computation of this library reads (X-FM's second word heads, for example) are kept as
  ``unused.<published name>``;
- so are tensors that should be tied copies but hold other values.

A state dict that is converted and converted back has the same names, shapes and bytes.
"""

import re
from collections.abc import Iterable, Mapping

import torch
from torch import Tensor

from x2vlm.weights.checkpoint_file import CheckpointError
from x2vlm.weights.derived_tensors import derived
from x2vlm.weights.kind_detection import count_text_layers, guess_kind
from x2vlm.weights.published_kinds import KINDS, MULTILINGUAL, check_kind
from x2vlm.weights.published_names import UNUSED, our_name, published_name
from x2vlm.weights.vision_names import vision_encoder_kind, vision_encoder_names

_OUR_PREFIXES = (
    *("temperature", "frame_positions", "vision_proj.", "text_proj.", "vision_encoder.", "text_encoder.net."),
    *("fusion_encoder.layer.", "objectives.", UNUSED),
)
_OUR_TEXT_LAYER = re.compile(r"text_encoder\.net\.encoder\.layer\.(\d+)\.")


def from_published(
    state: Mapping[str, Tensor], text_layers: int | None = None, kind: str | None = None
) -> dict[str, Tensor]:
    """A published state dict under our names.

    Args:
        state: As published.
        text_layers: Layers of the text encoder below the fusion layers; None counts those without cross-attention.
        kind: The published class; None tells it from the names.

    Returns:
        Tensors under our names, those without a use as ``unused.<published name>``.

    Raises:
        CheckpointError: If the names are of no published class.
    """
    kind = check_kind(kind) if kind else guess_kind(state)
    if kind is None:
        raise CheckpointError(
            f"the names are of no published class: {', '.join(list(state)[:4])}, ... Known: {', '.join(KINDS)}."
        )
    if text_layers is None:
        text_layers = count_text_layers(state)
    two_heads = any(name.startswith("fusion_encoder.") for name in state)
    follows, ours = derived(state), {}
    for name, value in state.items():
        own = our_name(
            name if KINDS[kind].vision else f"vision_encoder.{name}",
            text_layers,
            KINDS[kind].task,
            "text_mlm" if two_heads else KINDS[kind].task,
        )
        if own is None or own.startswith(UNUSED):
            if name in follows and torch.equal(value, follows[name]):
                continue
            own = UNUSED + name
        if own in ours:
            raise CheckpointError(f"two tensors would become {own}; one of them is {name}. Is the kind {kind} right?")
        ours[own] = value
    return ours


def to_published(state: Mapping[str, Tensor], kind: str | None = None) -> dict[str, Tensor]:
    """Our state dict under the names of a published class, with all that the class has beside its parameters.

    Args:
        state: Ours, as a model gives it or as :func:`from_published` does.
        kind: The published class; None tells it from the objectives.

    Raises:
        CheckpointError: If the class has no place for a tensor, or cannot be told.
    """
    kind = check_kind(kind) if kind else guess_kind(state)
    if kind is None:
        raise CheckpointError(
            f"it cannot be told which published class this becomes. Give kind, one of: {', '.join(KINDS)}."
        )
    text_layers = 1 + max((int(found[1]) for found in map(_OUR_TEXT_LAYER.match, state) if found), default=-1)
    vision = vision_encoder_kind(vision_encoder_names(state))
    theirs, homeless = {}, []
    for name, value in state.items():
        published = published_name(name, kind, text_layers, vision)
        if published is None:
            homeless.append(name)
        else:
            theirs[published] = value
    if homeless:
        raise CheckpointError(
            f"{kind} has no place for {', '.join(homeless[:5])}"
            + (f" and {len(homeless) - 5} more" if len(homeless) > 5 else "")
            + ". Choose another kind, or leave these out."
        )
    words = KINDS[kind].words
    if words == MULTILINGUAL.words and f"{words}bias" in theirs:  # not tied there, whether it is here or not
        theirs.setdefault(f"{words}decoder.weight", theirs[f"{KINDS[kind].text}embeddings.word_embeddings.weight"])
    return theirs | {name: value for name, value in derived(theirs).items() if name not in theirs}


def unknown_names(state: Iterable[str]) -> list[str]:
    """Names, under ours, that no part of a model here has."""
    return [name for name in state if not name.startswith(_OUR_PREFIXES)]
