"""Collate samples of images, clips or texts into a batch of pairs.

Shape letters: B texts, U distinct contexts, L tokens, M masked tokens.
"""

import random
from collections.abc import Sequence
from hashlib import blake2b
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from x2vlm.building import suggestion
from x2vlm.constants import IGNORE_INDEX
from x2vlm.data.batch import Batch, Sample
from x2vlm.data.collate.context_tensors import (
    Pairs,
    all_or_none,
    are_image_only,
    box_tensors,
    masked_patch_tensors,
    pixel_tensors,
    with_equal_image_counts,
)
from x2vlm.data.collate.padding import padded, padded_tokens
from x2vlm.data.collate.target_tensors import answer_tensors, label_tensors, targets_of_pairs
from x2vlm.data.collate.token_masking import Masking, TokenMasker
from x2vlm.data.tokenizer import display_text, tokenize
from x2vlm.registry import TRANSFORMS

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

FILLS = ("fewer", "copy")


@TRANSFORMS.register_module()
class PairCollate:
    """Collate the pairs of some samples into a batch.

    Samples without texts (images only) make a batch without ``text_ids``, in which every image is a pair. A text that
    attends to several images makes as many pairs, one after the other (``Batch.text_owner``).

    Random numbers (masks, which pairs are kept) come from Python's global generator.

    Args:
        tokenizer: A transformers tokenizer with tokens for [CLS], [SEP] and padding.
        max_tokens: Texts are cut to so many tokens, [CLS] and [SEP] included. None cuts nothing, as published for
            training retrieval.
        masking: Token masking for masked language modelling (a dict of the arguments of
            :class:`~x2vlm.data.collate.token_masking.Masking`); None leaves out ``masked_ids``,
            ``mlm_positions`` and ``mlm_labels``.
        batch_size: Keep exactly so many pairs, chosen at random; None keeps all. A stream with ``max_images`` sets it.
        fill: What to do with fewer than ``batch_size`` pairs: ``"fewer"`` makes a smaller batch, ``"copy"`` copies
            random ones as published. Copies are false negatives.
        pad_to_max: Pad to ``max_tokens`` (and ``max_masks``), as published, and not to the longest of the batch.
        num_classes: How many classes there are; needed where a text has several with a weight each.
        max_answer_tokens: Answers are cut to so many tokens, [CLS] and [SEP] included; None cuts nothing.

    Raises:
        ValueError: If an option has no meaning, or the tokenizer lacks a token.
    """

    def __init__(
        self,
        tokenizer: "PreTrainedTokenizerBase",
        max_tokens: int | None = 40,
        masking: dict[str, Any] | Masking | None = Masking(),  # noqa: B008  (frozen)
        batch_size: int | None = None,
        fill: str = "fewer",
        pad_to_max: bool = False,
        num_classes: int | None = None,
        max_answer_tokens: int | None = None,
    ) -> None:
        lacking = [name for name in ("cls", "sep", "pad") if getattr(tokenizer, f"{name}_token_id", None) is None]
        if lacking:
            raise ValueError(f"the tokenizer {type(tokenizer).__name__} has no {', '.join(lacking)} token")
        for option, most in (("max_tokens", max_tokens), ("max_answer_tokens", max_answer_tokens)):
            if most is not None and most < 3:
                raise ValueError(f"{option} is {most}; expected 3 or more, for [CLS], a word and [SEP]")
        if pad_to_max and max_tokens is None:
            raise ValueError("pad_to_max=True needs max_tokens: it is the length that texts are padded to")
        if batch_size is not None and batch_size < 1:
            raise ValueError(f"batch_size is {batch_size}; expected 1 or more, or None for all pairs")
        if fill not in FILLS:
            raise ValueError(f"fill is {fill!r}.{suggestion(fill, FILLS)} Accepted: {', '.join(FILLS)}.")
        self.tokenizer, self.max_tokens, self.pad_to_max = tokenizer, max_tokens, pad_to_max
        self.batch_size, self.fill = batch_size, fill
        self.num_classes, self.max_answer_tokens = num_classes, max_answer_tokens
        self.masker = None if masking is None else TokenMasker(tokenizer, Masking.of(masking))

    def __call__(self, samples: Sequence[Sample]) -> Batch:
        """One batch; contexts of which no pair is kept are left out of it. No pair gives an empty batch.

        A sample whose text reads another number of images than most is left out, and named in ``bad``.

        Raises:
            ValueError: If the samples do not fit together (some with pixels and some without, or of several sizes), or
                are something else.
        """
        if strange := next((one for one in samples if not isinstance(one, Sample)), None):
            raise ValueError(
                f"the data set gave {type(strange).__name__}, and {type(self).__name__} takes Samples: derive it from "
                "x2vlm.data.datasets.base.Adapter and end its pipeline with PackSample."
            )
        drawn, (samples, bad) = len(samples), with_equal_image_counts(samples)
        image_only = are_image_only(samples)
        pairs = self._kept([(s, r) for s, sample in enumerate(samples) for r in range(len(sample.texts) or image_only)])
        used = sorted({s for s, _ in pairs})
        slots = {s: slot for slot, s in enumerate(used)}
        kept = [samples[s] for s in used]
        pairs = [(slots[s], r) for s, r in pairs]
        owner = torch.tensor([s for s, _ in pairs], dtype=torch.long)
        texts = [] if image_only else [kept[s].texts[r] for s, r in pairs]
        answers = targets_of_pairs(kept, pairs, "answers")
        tokens = {"text_ids": None, "text_mask": None} if image_only else self._tokens(texts)
        return Batch(
            **(tokens | self._contexts(kept, owner)),
            **box_tensors(kept, pairs),
            **label_tensors(targets_of_pairs(kept, pairs, "labels"), self.num_classes),
            **answer_tensors(answers, self._answer_tokens, self.tokenizer.pad_token_id),
            ids=torch.tensor([stable_hash(_identity(kept[s], used[s], r)) for s, r in pairs], dtype=torch.long),
            where=[kept[s].where for s, _ in pairs],
            texts=[display_text(text) for text in texts],
            extras=[sample.extras for sample in kept],
            bad=bad,
            drawn=drawn,
        )

    def _kept(self, pairs: Pairs) -> Pairs:
        missing = 0 if self.batch_size is None else self.batch_size - len(pairs)
        if missing < 0:
            return sorted(random.sample(pairs, self.batch_size))
        if missing == 0 or not pairs or self.fill == "fewer":
            return pairs
        # The published code always copies.
        copies = (
            random.sample(pairs, missing) if missing <= len(pairs) else [pairs[i % len(pairs)] for i in range(missing)]
        )
        return pairs + copies

    def _tokens(self, texts: list[str | tuple[str, str]]) -> dict[str, Tensor]:
        token_ids = tokenize(self.tokenizer, texts, self.max_tokens)
        pad, length = self.tokenizer.pad_token_id, self.max_tokens if self.pad_to_max else None
        ids, mask = padded_tokens(token_ids, pad, length)
        return {"text_ids": ids, "text_mask": mask} | self._masked(token_ids)

    def _masked(self, token_ids: list[list[int]]) -> dict[str, Tensor]:
        if self.masker is None:
            return {}
        masked = self.masker(token_ids)
        length, most = (self.max_tokens, self.masker.masking.max_masks) if self.pad_to_max else (None, None)
        return {
            "masked_ids": padded([text.ids for text in masked], self.tokenizer.pad_token_id, length),
            "mlm_positions": padded([text.positions for text in masked], 0, most),
            "mlm_labels": padded([text.labels for text in masked], IGNORE_INDEX, most),
        }

    def _answer_tokens(self, answers: list[str]) -> list[list[int]]:
        return tokenize(self.tokenizer, answers, self.max_answer_tokens)

    def _contexts(self, samples: list[Sample], owner: Tensor) -> dict[str, Tensor]:
        if all_or_none(samples, "pixels"):
            return pixel_tensors(samples, owner) | masked_patch_tensors(samples)
        if all_or_none(samples, "context_text"):
            token_ids = tokenize(self.tokenizer, [sample.context_text for sample in samples], self.max_tokens)
            ids, mask = padded_tokens(
                token_ids, self.tokenizer.pad_token_id, self.max_tokens if self.pad_to_max else None
            )
            contexts = {"context_ids": ids, "context_text_mask": mask, "owner": owner}
            # In parallel text the context is masked, and predicted while attending to the text.
            return contexts | self._masked([token_ids[i] for i in owner.tolist()])
        return {}


def stable_hash(name: str) -> int:
    """A 63-bit number for an identity: the same in every process and every run."""
    return int.from_bytes(blake2b(name.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "big") >> 1


def _identity(sample: Sample, sample_index: int, text: int) -> str:
    """The identity of what the pair shows; where the record has none, a name that no other pair of the batch has."""
    return sample.ids[text] if sample.ids else f"{sample.where} {sample_index} {text}"
