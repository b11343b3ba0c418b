"""Token ids of texts without padding, and text encoding in batches of similar length.

Shape letters: T texts, S tokens of all texts, L tokens of the longest, D width.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from x2vlm.distributed import all_gather_lists, rank, world_size
from x2vlm.models.join_outputs import to_cpu
from x2vlm.models.outputs import TextStates

MAX_PADDING = 0.1  # largest share of padding in a batch; smaller batches would cost more than they save
_MIN_BATCH = 8  # texts that are batched together whatever their lengths


@dataclass(frozen=True)
class RaggedTokens:
    """Token ids of texts, concatenated without padding.

    Attributes:
        tokens: ``[S]`` int32.
        ends: ``[T]`` long, the end of each text in ``tokens``.
    """

    tokens: Tensor
    ends: Tensor

    def __len__(self) -> int:
        return len(self.ends)

    @classmethod
    def from_padded(cls, text_ids: Tensor, text_mask: Tensor) -> "RaggedTokens":
        """Remove the padding at the end of texts, ``[T, L]`` ids and mask."""
        return cls(text_ids[text_mask].int().cpu(), text_mask.sum(dim=1).cumsum(0).cpu())

    @classmethod
    def join(cls, items: Sequence["RaggedTokens"]) -> "RaggedTokens":
        """Concatenate the texts of several items."""
        if not items:
            return cls(torch.zeros(0, dtype=torch.int32), torch.zeros(0, dtype=torch.long))
        lengths = torch.cat([item.lengths for item in items])
        return cls(torch.cat([item.tokens for item in items]), lengths.cumsum(0))

    @property
    def lengths(self) -> Tensor:
        """Tokens of each text, ``[T]`` long."""
        return self.ends.diff(prepend=self.ends.new_zeros(1))

    def select(self, index: Tensor) -> "RaggedTokens":
        """The texts at ``index``, in that order."""
        lengths = self.lengths[index]
        return RaggedTokens(self.tokens[ranges((self.ends - self.lengths)[index], lengths)], lengths.cumsum(0))

    def padded(self) -> tuple[Tensor, Tensor]:
        """Token ids ``[T, L]`` long, 0 in the padding, and their mask."""
        mask = torch.arange(int(self.lengths.max()))[None] < self.lengths[:, None]
        return torch.zeros(mask.shape, dtype=torch.long).masked_scatter_(mask, self.tokens.long()), mask

    def unique(self) -> tuple[Tensor, Tensor]:
        """Index of the first occurrence of each distinct text, ``[T']``, and the distinct text of each, ``[T]``."""
        numbers: dict[bytes, int] = {}
        first, inverse, tokens, start = [], [], self.tokens.numpy(), 0
        for index, end in enumerate(self.ends.tolist()):
            number = numbers.setdefault(tokens[start:end].tobytes(), len(numbers))
            if number == len(first):
                first.append(index)
            inverse.append(number)
            start = end
        return torch.tensor(first, dtype=torch.long), torch.tensor(inverse, dtype=torch.long)


def ranges(starts: Tensor, lengths: Tensor) -> Tensor:
    """Concatenation of the ranges ``start, ..., start + length - 1``."""
    offsets = lengths.cumsum(0) - lengths
    return torch.arange(int(lengths.sum())) + torch.repeat_interleave(starts - offsets, lengths)


def length_buckets(lengths: Tensor, max_size: int) -> Iterator[Tensor]:
    """Indices of texts of similar length, at most ``max_size`` in a bucket, the shortest texts first.

    At most a tenth of a bucket is padding, except in buckets of a few texts.
    """
    order = lengths.argsort(stable=True)
    ascending, start, real = lengths[order].tolist(), 0, 0
    for position, length in enumerate(ascending):
        count = position - start
        padding = length * (count + 1) - real - length
        if count == max_size or (count >= _MIN_BATCH and padding > MAX_PADDING * length * (count + 1)):
            yield order[start:position]
            start, real = position, 0
        real += length
    if start < len(order):
        yield order[start:]


def encode_length_buckets(model: Any, tokens: RaggedTokens, chunk: int) -> Iterator[tuple[Tensor, TextStates]]:
    """Indices of texts and their encoding, on the device of the model; every text once, bucket by bucket."""
    for index in length_buckets(tokens.lengths, chunk):
        ids, mask = tokens.select(index).padded()
        yield index, model.encode_text(ids, mask)


def encode_texts(model: Any, tokens: RaggedTokens, chunk: int = 256) -> TextStates:
    """Encode texts, in their order, in main memory; equal texts are computed once.

    Args:
        model: The model.
        tokens: ``T`` texts, one or more.
        chunk: Texts at a time.

    Returns:
        Embeddings ``[T, L, D]``, 0 in the padding.
    """
    first, inverse = tokens.unique()
    return _merge_buckets(list(_encode(model, tokens.select(first), chunk)), len(first)).select(inverse)


def encode_texts_distributed(model: Any, tokens: RaggedTokens, chunk: int = 256) -> TextStates:
    """The result of :func:`encode_texts`, each process computing its share; the texts are the same in all of them."""
    first, inverse = tokens.unique()
    share = torch.arange(rank(), len(first), world_size())
    encoded = [(share[index], text) for index, text in _encode(model, tokens.select(first[share]), chunk)]
    return _merge_buckets(all_gather_lists(encoded), len(first)).select(inverse)


def _encode(model: Any, tokens: RaggedTokens, chunk: int) -> Iterator[tuple[Tensor, TextStates]]:
    for index, text in encode_length_buckets(model, tokens, chunk):
        yield index, to_cpu(text)


def _merge_buckets(buckets: Sequence[tuple[Tensor, TextStates]], count: int) -> TextStates:
    sample, length = buckets[0][1], max(text.mask.shape[1] for _, text in buckets)
    embeds = sample.embeds.new_zeros(count, length, sample.embeds.shape[2])
    mask = torch.zeros(count, length, dtype=torch.bool)
    feat = None if sample.feat is None else sample.feat.new_empty(count, sample.feat.shape[1])
    for index, text in buckets:
        embeds[index, : text.mask.shape[1]] = text.embeds * text.mask[..., None]
        mask[index, : text.mask.shape[1]] = text.mask
        if feat is not None:
            feat[index] = text.feat
    return TextStates(embeds, mask, feat)
