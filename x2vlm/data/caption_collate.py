"""Captions as they are written: left to right, each word from the picture and the words before it.

Shape letters: B captions, L tokens, L' tokens with the copies of masked ones.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor

from x2vlm.building import suggestion
from x2vlm.constants import IGNORE_INDEX
from x2vlm.data.collate import PairCollate
from x2vlm.data.masking import Masked, Masking, TokenMasker
from x2vlm.data.padding import padded, padded_tokens
from x2vlm.data.tokenizer import tokenize
from x2vlm.registry import TRANSFORMS

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

PROMPT = "a picture of "
WAYS = ("twice", "replace")


@TRANSFORMS.register_module()
class CaptionCollate(PairCollate):
    """Make a batch of captions that are learned left to right (published captioning; UniLM, arXiv:1905.03197).

    Every text becomes ``[CLS] prompt caption [SEP]``. In ``masked_ids`` some of its tokens are to be guessed, each from
    the tokens before it: ``masked_mask`` is causal. Written ``twice``, a chosen token stands there as [MASK]
    and right after it as itself, both at the same position, and nobody but itself sees a [MASK]: so no guess is
    disturbed by another one, and every guess is made as in generation. With ``replace`` the chosen tokens are hidden
    as in masked language modelling, and later guesses miss them.

    Texts come as they are: leave clean-up out of the pipeline (``PickCaption(clean=False)``), so that the caption is
    learned as it is to be written, as published.

    Args:
        tokenizer: A transformers tokenizer with tokens for [CLS], [SEP], padding and [MASK].
        prompt: What every caption begins with; given in generation, never guessed.
        masked: ``twice`` or ``replace``.
        max_tokens: Texts are cut to so many tokens, prompt, [CLS] and [SEP] included.
        masking: Which tokens are guessed (a dict of the arguments of :class:`~x2vlm.data.masking.Masking`, without
            ``prompt_tokens``, which follow from the prompt).
        pad_to_max: Pad to ``max_tokens`` (and ``max_masks`` more where masked tokens are written twice), as published,
            and not to the longest of the batch.

    Raises:
        ValueError: If an option has no meaning, the tokenizer lacks a token, or the prompt leaves no room.
    """

    def __init__(
        self,
        tokenizer: "PreTrainedTokenizerBase",
        prompt: str = PROMPT,
        masked: str = "twice",
        max_tokens: int = 40,
        masking: dict[str, Any] | Masking = Masking(prob=0.6, max_masks=18),  # noqa: B008  (frozen)
        pad_to_max: bool = False,
    ) -> None:
        super().__init__(tokenizer, max_tokens, masking=None, pad_to_max=pad_to_max)
        if masked not in WAYS:
            raise ValueError(f"masked is {masked!r}.{suggestion(masked, WAYS)} Accepted: {', '.join(WAYS)}.")
        options = vars(masking) if isinstance(masking, Masking) else dict(masking)
        given = len(prompt_ids(tokenizer, prompt))
        if options.setdefault("prompt_tokens", given) not in (0, given):
            raise ValueError(
                f"masking.prompt_tokens is {options['prompt_tokens']} but the prompt {prompt!r} has {given} tokens. "
                "Leave it out: it follows from the prompt."
            )
        if max_tokens < given + 3:
            raise ValueError(f"max_tokens is {max_tokens}; expected {given + 3} or more: the prompt has {given} tokens")
        self.prompt, self.masked = prompt.rstrip(), masked
        self.masker = TokenMasker(tokenizer, Masking.of(options | {"prompt_tokens": given}))

    def _tokens(self, texts: list[str | tuple[str, str]]) -> dict[str, Tensor]:
        rows = tokenize(self.tokenizer, [f"{self.prompt} {text}".lstrip() for text in texts], self.max_tokens)
        ids, mask = padded_tokens(rows, self.tokenizer.pad_token_id, self.max_tokens if self.pad_to_max else None)
        return {"text_ids": ids, "text_mask": mask} | self._guesses(rows)

    def _guesses(self, rows: list[list[int]]) -> dict[str, Tensor]:
        chosen, most = self.masker(rows), self.masker.masking.max_masks
        room = self.max_tokens + (most if self.masked == "twice" else 0)
        if self.masked == "twice":
            written = [
                written_twice(row, one.positions, self.masker.mask_id) for row, one in zip(rows, chosen, strict=True)
            ]
        else:
            written = [in_place(one) for one in chosen]
        return {
            **guess_tensors(written, self.tokenizer.pad_token_id, room if self.pad_to_max else None),
            "mlm_positions": padded([one.guessed for one in written], 0, most if self.pad_to_max else None),
            "mlm_labels": padded([one.labels for one in chosen], IGNORE_INDEX, most if self.pad_to_max else None),
        }


class CaptionTargets(NamedTuple):
    """One caption with tokens to guess.

    Attributes:
        ids: ``L'`` token ids.
        positions: ``L'``, the position of each token in the caption.
        unseen: ``L'`` bool, True at tokens that only they themselves see.
        guessed: Which of the ``L'`` are to be guessed, ascending.
    """

    ids: list[int]
    positions: list[int]
    unseen: list[bool]
    guessed: list[int]


def written_twice(ids: Sequence[int], chosen: Sequence[int], mask_id: int) -> CaptionTargets:
    """A caption in which each chosen token is written as [MASK] and then as itself, at one position.

    Args:
        ids: Its ``L`` token ids.
        chosen: Positions among them, ascending.
        mask_id: The id of [MASK].
    """
    made, hidden = CaptionTargets([], [], [], []), set(chosen)
    for position, token in enumerate(ids):
        if position in hidden:
            made.guessed.append(len(made.ids))
        for written in (mask_id, token) if position in hidden else (token,):
            made.unseen.append(position in hidden and len(made.ids) == made.guessed[-1])
            made.ids.append(written)
            made.positions.append(position)
    return made


def in_place(masked: Masked) -> CaptionTargets:
    """A caption whose chosen tokens are hidden where they stand, by [MASK] or another token."""
    length = len(masked.ids)
    return CaptionTargets(masked.ids, list(range(length)), [False] * length, masked.positions)


def guess_tensors(written: Sequence[CaptionTargets], pad: int, length: int | None = None) -> dict[str, Tensor]:
    """``masked_ids``, ``masked_mask`` and ``masked_text_positions`` of ``B`` captions, padded to one length."""
    ids, real = padded_tokens([one.ids for one in written], pad, length)
    unseen = padded([one.unseen for one in written], 0, length).bool()
    return {
        "masked_ids": ids,
        "masked_mask": causal_mask(real & ~unseen) | torch.eye(ids.shape[1], dtype=torch.bool),
        "masked_text_positions": padded([one.positions for one in written], 0, length),
    }


def causal_mask(seen: Tensor) -> Tensor:
    """Each token looks at itself and before: ``[B, L]`` bool, True at tokens that others see -> ``[B, L, L]`` bool."""
    length = seen.shape[1]
    return seen[:, None] & torch.ones(length, length, dtype=torch.bool, device=seen.device).tril()


def prompt_ids(tokenizer: "PreTrainedTokenizerBase", prompt: str = PROMPT) -> list[int]:
    """The tokens of a prompt, without [CLS] and [SEP]."""
    return tokenize(tokenizer, [prompt.rstrip()], None)[0][1:-1]
