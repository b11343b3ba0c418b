"""What the states of a fusion encoder depend on, and must not: found by changing it.

Shape letters: B texts, L tokens, U images, N patches, D width of texts, C width of contexts.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from x2vlm.models.fusion.requests import FusionRequest, fuse
from x2vlm.models.outputs import Context, TextStates

TEXTS, TOKENS, IMAGES, PATCHES = 3, 4, 2, 3
_SAME = 1e-4  # share of the largest state; rounding in fp32 stays below a tenth of it


def tiny_inputs(text_width: int, context_width: int, device: torch.device) -> tuple[TextStates, Context]:
    """Three texts and two images: the second text ends in padding, the third may see one patch of its image."""
    generator = torch.Generator().manual_seed(0)
    sizes = ((TEXTS, TOKENS, text_width), (IMAGES, PATCHES, context_width), (TEXTS, context_width))
    embeds, tokens, summary = (torch.randn(*size, generator=generator).to(device) for size in sizes)
    text_mask, mask = torch.ones(TEXTS, TOKENS).bool(), torch.ones(TEXTS, PATCHES).bool()
    text_mask[1, -1] = False
    mask[2, 1:] = False
    owner = torch.tensor([0, 1, 1], device=device)
    context = Context(tokens, owner, mask.to(device), summary, source="images of a check")
    return TextStates(embeds, text_mask.to(device)), context


def states_of(encoder: Any, text: TextStates, context: Context | None) -> Any:
    """What an encoder makes of texts and their contexts, ``[B, L, D]``."""
    return fuse(encoder, [FusionRequest(text, context)])[0].states


def dependence_problems(encoder: nn.Module, text: TextStates, context: Context) -> Iterator[str]:
    """What states depend on and must not, as ends of sentences."""
    with _open_gates(encoder):
        before = states_of(encoder, text, context)
        largest = max(float(before.abs().max()), 1e-12)

        def moved(text: TextStates, context: Context, row: int) -> float:
            after, real = states_of(encoder, text, context), text.mask[row]
            return float((after[row][real] - before[row][real]).abs().max()) / largest

        padded = replace(text, embeds=_changed(text.embeds, 1, slice(-1, None)))
        if (share := moved(padded, context, 1)) > _SAME:
            yield (
                f"reads padding: what stands where text.mask is False moves states of real tokens by {share:.1e} of "
                "the largest one, so that a text would depend on the batch it is in."
            )
        hidden = replace(context, tokens=_changed(context.tokens, 1, slice(1, None)))
        if (share := moved(text, hidden, 2)) > _SAME:
            yield (
                f"reads patches where context.mask is False: they move states by {share:.1e} of the largest one, so "
                "that a text of a region would see the whole image."
            )
        other = replace(context, tokens=_changed(context.tokens, 1, slice(None)))
        if (share := moved(text, other, 0)) > _SAME:
            yield (
                f"reads images of other texts: they move states by {share:.1e} of the largest one. "
                "Take context.tokens[context.owner]."
            )


def _changed(states: Tensor, row: int, columns: slice) -> Tensor:
    states = states.clone()
    states[row, columns] += 1.0
    return states


@contextmanager
def _open_gates(encoder: nn.Module) -> Iterator[None]:
    """Parameters that begin at zero get other numbers for a while: behind a closed gate nothing is seen."""
    generator = torch.Generator().manual_seed(0)
    closed = [parameter for parameter in encoder.parameters() if not parameter.any()]
    try:
        for parameter in closed:
            parameter.copy_(torch.randn(parameter.shape, generator=generator) / 2)
        yield
    finally:
        for parameter in closed:
            parameter.zero_()
