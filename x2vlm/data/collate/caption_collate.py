"""Collate captions for left-to-right language modelling: each masked token is predicted from the tokens before it.

Shape letters: B captions, L tokens, L' tokens with the copies of masked ones.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor

from x2vlm.building import suggestion
from x2vlm.constants import IGNORE_INDEX
from x2vlm.data.collate.padding import padded, padded_tokens
from x2vlm.data.collate.pair_collate import PairCollate
from x2vlm.data.collate.token_masking import MaskedTokens, Masking, TokenMasker
from x2vlm.data.tokenizer import tokenize
from x2vlm.registry import TRANSFORMS

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

PROMPT = "a picture of "
MASKED_AS = ("twice", "replace", "next")
PUBLISHED_MASKING = Masking(prob=0.6, max_masks=18)


@TRANSFORMS.register_module()
class CaptionCollate(PairCollate):
    """Collate captions for left-to-right masked language modelling (published captioning; UniLM, arXiv:1905.03197).

    Every text becomes ``[CLS] prompt caption [SEP]``. In ``masked_ids`` some of its tokens are to be predicted, each
    from the tokens before it: ``masked_mask`` is causal. With ``twice``, a chosen token is there as [MASK] and right
    after it as itself, both at the same position, and only the [MASK] attends to itself: so no prediction depends on
    another [MASK], and every one is made as in generation. With ``replace`` the chosen tokens are replaced as in masked
    language modelling, and later predictions lack them. With ``next`` nothing is masked: every token after the prompt
    is predicted at the token before it, for :class:`~x2vlm.objectives.next_token_caption.NextTokenCaption`.

    Texts come as they are: leave clean-up out of the pipeline (``PickCaption(clean=False)``), so that the model
    learns to generate the caption as it is annotated, as published.

    Args:
        tokenizer: A transformers tokenizer with tokens for [CLS], [SEP], padding and [MASK].
        prompt: What every caption begins with; given in generation, never predicted.
        masked: ``twice``, ``replace`` or ``next``.
        max_tokens: Texts are cut to so many tokens, prompt, [CLS] and [SEP] included.
        masking: Which tokens are predicted: a dict of the arguments of
            :class:`~x2vlm.data.collate.token_masking.Masking`, without ``prompt_tokens``, which follow from the prompt.
            None is a share of 0.6 and 18 at most; with ``next`` all tokens are predicted, and it must be None.
        pad_to_max: Pad to ``max_tokens`` (and ``max_masks`` more with ``twice``), as published, and not to the
            longest of the batch.

    Raises:
        ValueError: If an option has no meaning, the tokenizer lacks a token, or the prompt leaves no room.
    """

    def __init__(
        self,
        tokenizer: "PreTrainedTokenizerBase",
        prompt: str = PROMPT,
        masked: str = "twice",
        max_tokens: int = 40,
        masking: dict[str, Any] | Masking | None = None,
        pad_to_max: bool = False,
    ) -> None:
        super().__init__(tokenizer, max_tokens, masking=None, pad_to_max=pad_to_max)
        if masked not in MASKED_AS:
            raise ValueError(f"masked is {masked!r}.{suggestion(masked, MASKED_AS)} Accepted: {', '.join(MASKED_AS)}.")
        if masked == "next" and masking is not None:
            raise ValueError("masking is given, but masked='next' masks nothing. Leave one of them out.")
        masking = PUBLISHED_MASKING if masking is None else masking
        options = vars(masking) if isinstance(masking, Masking) else dict(masking)
        prompt_length = len(prompt_ids(tokenizer, prompt))
        if options.setdefault("prompt_tokens", prompt_length) not in (0, prompt_length):
            raise ValueError(
                f"masking.prompt_tokens is {options['prompt_tokens']} but the prompt {prompt!r} has {prompt_length} "
                "tokens. Leave it out: it follows from the prompt."
            )
        least = prompt_length + 3
        if max_tokens < least:
            raise ValueError(
                f"max_tokens is {max_tokens}; expected {least} or more: the prompt has {prompt_length} tokens"
            )
        self.prompt, self.masked, self.prompt_length = prompt.rstrip(), masked, prompt_length
        self.masker = TokenMasker(tokenizer, Masking.of(options | {"prompt_tokens": prompt_length}))

    def _tokens(self, texts: list[str | tuple[str, str]]) -> dict[str, Tensor]:
        token_ids = tokenize(self.tokenizer, [f"{self.prompt} {text}".lstrip() for text in texts], self.max_tokens)
        ids, mask = padded_tokens(token_ids, self.tokenizer.pad_token_id, self.max_tokens if self.pad_to_max else None)
        return {"text_ids": ids, "text_mask": mask} | (self._next if self.masked == "next" else self._masked)(token_ids)

    def _next(self, token_ids: list[list[int]]) -> dict[str, Tensor]:
        """Every token after the prompt as the label of the one before it."""
        inputs = [next_tokens(row, self.prompt_length) for row in token_ids]
        length = self.max_tokens if self.pad_to_max else None
        labels = [row[self.prompt_length + 1 :] for row in token_ids]
        return {
            **masked_caption_tensors(inputs, self.tokenizer.pad_token_id, length),
            "mlm_positions": padded([one.masked_indices for one in inputs], 0, length),
            "mlm_labels": padded(labels, IGNORE_INDEX, length),
        }

    def _masked(self, token_ids: list[list[int]]) -> dict[str, Tensor]:
        masked, max_masks = self.masker(token_ids), self.masker.masking.max_masks
        if self.masked == "twice":
            mask_id = self.masker.mask_id
            inputs = [
                duplicate_masked_tokens(row, text.positions, mask_id)
                for row, text in zip(token_ids, masked, strict=True)
            ]
        else:
            inputs = [mask_in_place(text) for text in masked]
        length, width = None, None
        if self.pad_to_max:
            length, width = self.max_tokens + (max_masks if self.masked == "twice" else 0), max_masks
        return {
            **masked_caption_tensors(inputs, self.tokenizer.pad_token_id, length),
            "mlm_positions": padded([caption.masked_indices for caption in inputs], 0, width),
            "mlm_labels": padded([text.labels for text in masked], IGNORE_INDEX, width),
        }


class MaskedCaption(NamedTuple):
    """One caption with tokens to predict.

    Attributes:
        ids: ``L'`` token ids.
        positions: ``L'``, the position of each token in the caption.
        hidden: ``L'`` bool, True at tokens that only they themselves attend to.
        masked_indices: Which of the ``L'`` are to be predicted, ascending.
    """

    ids: list[int]
    positions: list[int]
    hidden: list[bool]
    masked_indices: list[int]


def duplicate_masked_tokens(ids: Sequence[int], chosen: Sequence[int], mask_id: int) -> MaskedCaption:
    """A caption in which each chosen token is there as [MASK] and then as itself, at one position.

    Args:
        ids: Its ``L`` token ids.
        chosen: Positions among them, ascending.
        mask_id: The id of [MASK].
    """
    caption, is_chosen = MaskedCaption([], [], [], []), set(chosen)
    for position, token in enumerate(ids):
        if position in is_chosen:
            caption.masked_indices.append(len(caption.ids))
        for token_id in (mask_id, token) if position in is_chosen else (token,):
            is_mask = position in is_chosen and len(caption.ids) == caption.masked_indices[-1]
            caption.hidden.append(is_mask)
            caption.ids.append(token_id)
            caption.positions.append(position)
    return caption


def mask_in_place(masked: MaskedTokens) -> MaskedCaption:
    """A caption whose chosen tokens are replaced by [MASK] or another token."""
    length = len(masked.ids)
    return MaskedCaption(masked.ids, list(range(length)), [False] * length, masked.positions)


def next_tokens(ids: Sequence[int], prompt_length: int) -> MaskedCaption:
    """A caption as it is, whose tokens after [CLS] and the prompt are each predicted at the token before."""
    return MaskedCaption(list(ids), list(range(len(ids))), [False] * len(ids), list(range(prompt_length, len(ids) - 1)))


def masked_caption_tensors(captions: Sequence[MaskedCaption], pad: int, length: int | None = None) -> dict[str, Tensor]:
    """``masked_ids``, ``masked_mask`` and ``masked_text_positions`` of ``B`` captions, padded to one length."""
    ids, is_token = padded_tokens([caption.ids for caption in captions], pad, length)
    hidden = padded([caption.hidden for caption in captions], 0, length).bool()
    return {
        "masked_ids": ids,
        "masked_mask": causal_mask(is_token & ~hidden) | torch.eye(ids.shape[1], dtype=torch.bool),
        "masked_text_positions": padded([caption.positions for caption in captions], 0, length),
    }


def causal_mask(key_mask: Tensor) -> Tensor:
    """Causal attention mask: ``[B, L]`` bool, True at tokens that others may attend to -> ``[B, L, L]`` bool."""
    length = key_mask.shape[1]
    return key_mask[:, None] & torch.ones(length, length, dtype=torch.bool, device=key_mask.device).tril()


def prompt_ids(tokenizer: "PreTrainedTokenizerBase", prompt: str = PROMPT) -> list[int]:
    """The tokens of a prompt, without [CLS] and [SEP]."""
    return tokenize(tokenizer, [prompt.rstrip()], None)[0][1:-1]
