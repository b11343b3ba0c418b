"""What a text encoder does with padding, and whether its first token knows of the last one: found by running it.

Shape letters: B texts, L tokens, D width.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

SUMMARIES = ("first", "last")
_LENGTH, _SHORT = 5, 3
_LEAK, _BLIND = 1e-4, 1e-5  # shares of the largest state; rounding in fp32 stays below a tenth of either


@dataclass(frozen=True)
class Probe:
    """How states change where they must not, and where they must, as shares of the largest state.

    Attributes:
        shape: Of the states of ``[3, 5]`` tokens; of ``[1, 5]``, where those with padding alone are of another length.
        leak: Change of real tokens by padding behind them; 0 is right.
        first_sees_last: Change of the first token by another last token; 0 in a network that reads left to right.
        is_finite: Whether all states are finite, those of padding too.
    """

    shape: tuple[int, ...]
    leak: float
    first_sees_last: float
    is_finite: bool = True


def probe(
    encode: Callable[[Tensor, Tensor], Tensor], vocab_size: int, pad_token_id: int, device: torch.device
) -> Probe:
    """Run an encoder, in evaluation mode, on three tiny texts.

    Args:
        encode: ``(text_ids [B, L], text_mask [B, L]) -> [B, L, D]``.
        vocab_size: Words are taken from the middle of the vocabulary.
        pad_token_id: What stands at padding.
        device: Of the encoder's weights.
    """
    words = [(vocab_size // 2 + number) % vocab_size for number in range(_LENGTH + 2)]
    *words, other = [word for word in words if word != pad_token_id][: _LENGTH + 1]
    ids = torch.tensor([words, words, [*words[:-1], other]], device=device)
    mask = torch.ones_like(ids, dtype=torch.bool)
    ids[1, _SHORT:], mask[1, _SHORT:] = pad_token_id, False
    states = encode(ids, mask)
    shape = tuple(states.shape)
    if len(shape) != 3 or shape[:2] != (3, _LENGTH):
        return Probe(shape, 0.0, 1.0)
    padded = tuple(encode(ids[1:2], mask[1:2]).shape)
    if padded != (1, *shape[1:]):
        return Probe(padded, 0.0, 1.0)
    alone = encode(ids[1:2, :_SHORT], mask[1:2, :_SHORT])
    largest = max(float(states[mask].abs().max()), 1e-12)
    leak = float((states[1, :_SHORT] - alone[0, :_SHORT]).abs().max()) / largest
    seen = float((states[0, 0] - states[2, 0]).abs().max()) / largest
    return Probe(shape, leak, seen, bool(states.isfinite().all()))


def reading_problems(found: Probe, name: str, summary: str) -> list[str]:
    """What is wrong with an encoder that behaves like this, a sentence each.

    Args:
        found: What :func:`probe` gave.
        name: What to call the encoder.
        summary: Which token stands for the whole text: ``first`` or ``last``.
    """
    problems = []
    if not found.leak <= _LEAK:  # NaN is not
        problems.append(
            f"{name} does not leave out padding: states of real tokens change by {found.leak:.1e} of the largest one "
            "with padding behind them, so that a text would depend on the batch it is in."
        )
    if summary == "first" and found.first_sees_last < _BLIND:
        problems.append(
            f"{name} reads from left to right (or not far): its first token knows nothing of the last one and cannot "
            "stand for the text. Set summary='last' (the last real token stands for it), or use another encoder."
        )
    return problems
