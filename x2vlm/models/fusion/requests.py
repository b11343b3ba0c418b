"""Requests to the fusion encoder: which texts with which contexts, and which of their states.

Shape letters: R rows (texts to be read), B texts or contexts that rows choose from, M positions, P requested states,
L tokens, D width.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import torch
from mmengine.logging import print_log
from torch import Tensor

from x2vlm.models.layers.attention import KeyValue
from x2vlm.models.module_checks import call_tower, described
from x2vlm.models.outputs import Context, TextStates
from x2vlm.part_errors import PartError

Index = Tensor | np.ndarray


@dataclass(frozen=True)
class FusionRequest:
    """Texts to be fused, each with a context.

    Indices may be in main memory (arrays, or tensors), where the pass is planned, or on the model's device, from which
    they are fetched (all of a pass at once: the one time that a step waits for the device).

    Attributes:
        text: The texts that rows choose from.
        context: The contexts that rows choose from; None for plain text.
        texts: ``[R]`` long, the text of each row; None: row r reads text r.
        contexts: ``[R]`` long, the context of each row; None: row r has context r.
        at: Which states are returned, of real tokens: a position for all rows; ``[R, M]`` long in main memory, -1 where
            a row has fewer than M; or None for all. The last layer computes only these.
        labels: Returned with the states.
        keys_values: ``project(context.tokens)`` of the fusion encoder, if it was computed before.
    """

    text: TextStates
    context: Context | None
    texts: Index | None = None
    contexts: Index | None = None
    at: Index | int | None = None
    labels: Index | None = None
    keys_values: Sequence[KeyValue] | None = None

    def selected(self) -> tuple[TextStates, Context | None]:
        """Text and context of every row; copies where rows choose."""
        text, context, device = self.text, self.context, self.text.embeds.device
        text = text if self.texts is None else text.select(torch.as_tensor(self.texts, device=device))
        if self.contexts is None or context is None:
            return text, context
        return text, context.select(torch.as_tensor(self.contexts, device=device))


@dataclass(frozen=True)
class FusedStates:
    """A request and its states.

    Attributes:
        request: The request.
        states: ``[R, D]`` for a position, ``[P, D]`` for positions (row by row), ``[R, L, D]`` for all tokens.
    """

    request: FusionRequest
    states: Tensor


def fuse(fusion: Any, requests: Sequence[FusionRequest]) -> list[FusedStates]:
    """Run a fusion encoder on requests: in one pass where it has ``read(requests)``, else request by request."""
    if not requests:
        return []
    if fusion is None:
        raise ValueError("texts are to be read with their contexts, but this model has no fusion encoder.")
    if hasattr(fusion, "read"):
        states = call_tower(fusion, requests, method="read")
        _check_read(fusion, states, len(requests))
    else:
        _warn_of_separate_passes(type(fusion).__name__)
        states = _fuse_separately(fusion, requests)
    return [FusedStates(*both) for both in zip(requests, states, strict=True)]


def _check_read(fusion: Any, states: Any, count: int) -> None:
    if not isinstance(states, (list, tuple)) or len(states) != count or not all(isinstance(s, Tensor) for s in states):
        raise PartError(
            f"{type(fusion).__name__}.read of {count} request(s) returned {described(states)}; expected a list of as "
            "many Tensors, the states of each request."
        )


def _fuse_separately(fusion: Any, requests: Sequence[FusionRequest]) -> list[Tensor]:
    projected: dict[str, Any] = {}
    states = []
    for request in requests:
        text, context = request.selected()
        keys_values, source = request.keys_values, None if request.context is None else request.context.source
        if keys_values is None and source is not None and hasattr(fusion, "project"):
            if source not in projected:
                projected[source] = call_tower(fusion, context.tokens, method="project")
            keys_values = projected[source]
        states.append(states_at(call_tower(fusion, text, context, keys_values), request.at))
    return states


@cache
def _warn_of_separate_passes(name: str) -> None:
    print_log(
        f"{name} has no read(requests): each request of an objective is a pass of its own, padding included. Masked "
        "words, matching and boxes take about three passes where one would do. See docs/plugins.md.",
        logger="current",
        level=30,
    )


def on_host(index: Index | None) -> np.ndarray | None:
    """An index in main memory as an array."""
    return index.cpu().numpy() if isinstance(index, Tensor) else index


def positions_of(labels: np.ndarray, positions: np.ndarray, ignore: int) -> tuple[np.ndarray, np.ndarray]:
    """Positions with a label, for :attr:`FusionRequest.at`.

    Args:
        labels: ``[B, M]``.
        positions: ``[B, M]``.
        ignore: The label of positions without one.

    Returns:
        Positions ``[B, M]``, -1 where there is no label, and the ``[P]`` labels, row by row.
    """
    has_label = labels != ignore
    return np.where(has_label, positions, -1), labels[has_label]


def states_at(hidden: Tensor, at: Index | int | None) -> Tensor:
    """Select the states that a request's ``at`` names from ``[R, L, D]``: ``[R, D]``, ``[P, D]`` row by row, or all."""
    if at is None:
        return hidden
    if isinstance(at, int):
        return hidden[:, at]
    at = on_host(at)
    row, column = np.nonzero(at >= 0)
    index = torch.from_numpy(row * hidden.shape[1] + at[row, column])
    return hidden.flatten(0, 1).index_select(0, index.to(hidden.device, non_blocking=True))
