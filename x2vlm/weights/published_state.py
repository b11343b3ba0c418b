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
        kind: The published class; None: detected from the names.

    Returns:
        Tensors under our names, unused ones as ``unused.<published name>``.

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
    derived_tensors, converted = derived(state), {}
    for name, value in state.items():
        name_here = our_name(
            name if KINDS[kind].vision else f"vision_encoder.{name}",
            text_layers,
            KINDS[kind].task,
            "text_mlm" if two_heads else KINDS[kind].task,
        )
        if name_here is None or name_here.startswith(UNUSED):
            if name in derived_tensors and torch.equal(value, derived_tensors[name]):
                continue
            name_here = UNUSED + name
        if name_here in converted:
            raise CheckpointError(
                f"two tensors would become {name_here}; one of them is {name}. Is the kind {kind} right?"
            )
        converted[name_here] = value
    return converted


def to_published(state: Mapping[str, Tensor], kind: str | None = None) -> dict[str, Tensor]:
    """Our state dict under the names of a published class, with all that the class has beside its parameters.

    Args:
        state: Ours, as a model gives it or as :func:`from_published` does.
        kind: The published class; None: detected from the objectives.

    Raises:
        CheckpointError: If the class has no place for a tensor, or cannot be detected.
    """
    kind = check_kind(kind) if kind else guess_kind(state)
    if kind is None:
        raise CheckpointError(
            f"the published class cannot be detected from the names. Give kind, one of: {', '.join(KINDS)}."
        )
    text_layers = 1 + max((int(match[1]) for match in map(_OUR_TEXT_LAYER.match, state) if match), default=-1)
    vision = vision_encoder_kind(vision_encoder_names(state))
    converted, unplaced = {}, []
    for name, value in state.items():
        published = published_name(name, kind, text_layers, vision)
        if published is None:
            unplaced.append(name)
        else:
            converted[published] = value
    if unplaced:
        raise CheckpointError(
            f"{kind} has no place for {', '.join(unplaced[:5])}"
            + (f" and {len(unplaced) - 5} more" if len(unplaced) > 5 else "")
            + ". Choose another kind, or leave these out."
        )
    words = KINDS[kind].words
    if words == MULTILINGUAL.words and f"{words}bias" in converted:  # never tied in these classes
        converted.setdefault(
            f"{words}decoder.weight", converted[f"{KINDS[kind].text}embeddings.word_embeddings.weight"]
        )
    return converted | {name: value for name, value in derived(converted).items() if name not in converted}


def unknown_names(state: Iterable[str]) -> list[str]:
    """Names, under ours, that no part of a model here has."""
    return [name for name in state if not name.startswith(_OUR_PREFIXES)]
