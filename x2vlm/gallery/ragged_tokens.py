"""Texts without padding, each different one encoded once, with others of about its length.

Shape letters: T texts, S tokens of all texts, L tokens of the longest, D width.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from x2vlm.distributed import all_gather_objects, rank, world_size
from x2vlm.models.outputs import TextStates

WASTE = 0.1  # of what is computed, the most that may be padding; smaller batches would cost more than they spare
_FEW = 8  # texts that are taken together whatever their lengths


@dataclass(frozen=True)
class RaggedTokens:
    """Token ids of texts, one text behind the other.

    Attributes:
        tokens: ``[S]`` int32.
        ends: ``[T]`` long, where the tokens of each text end.
    """

    tokens: Tensor
    ends: Tensor

    def __len__(self) -> int:
        return len(self.ends)

    @classmethod
    def of(cls, text_ids: Tensor, text_mask: Tensor) -> "RaggedTokens":
        """Texts that are padded at their ends, ``[T, L]`` ids and mask."""
        return cls(text_ids[text_mask].int().cpu(), text_mask.sum(dim=1).cumsum(0).cpu())

    @classmethod
    def join(cls, parts: Sequence["RaggedTokens"]) -> "RaggedTokens":
        """Texts of several parts, one part behind the other."""
        if not parts:
            return cls(torch.zeros(0, dtype=torch.int32), torch.zeros(0, dtype=torch.long))
        lengths = torch.cat([part.lengths for part in parts])
        return cls(torch.cat([part.tokens for part in parts]), lengths.cumsum(0))

    @property
    def lengths(self) -> Tensor:
        """``[T]`` long."""
        return self.ends.diff(prepend=self.ends.new_zeros(1))

    def select(self, index: Tensor) -> "RaggedTokens":
        """The texts at ``index``, in that order."""
        lengths = self.lengths[index]
        return RaggedTokens(self.tokens[ranges((self.ends - self.lengths)[index], lengths)], lengths.cumsum(0))

    def padded(self) -> tuple[Tensor, Tensor]:
        """``[T, L]`` long ids, 0 behind the end of a text, and their mask."""
        mask = torch.arange(int(self.lengths.max()))[None] < self.lengths[:, None]
        return torch.zeros(mask.shape, dtype=torch.long).masked_scatter_(mask, self.tokens.long()), mask

    def distinct(self) -> tuple[Tensor, Tensor]:
        """Where each different text stands first, ``[T']``, and which of these each text is, ``[T]``."""
        known: dict[bytes, int] = {}
        first, which, tokens, start = [], [], self.tokens.numpy(), 0
        for number, end in enumerate(self.ends.tolist()):
            place = known.setdefault(tokens[start:end].tobytes(), len(known))
            if place == len(first):
                first.append(number)
            which.append(place)
            start = end
        return torch.tensor(first, dtype=torch.long), torch.tensor(which, dtype=torch.long)


def ranges(starts: Tensor, lengths: Tensor) -> Tensor:
    """``start, start + 1, ...`` of every range, one range behind the other."""
    before = lengths.cumsum(0) - lengths
    return torch.arange(int(lengths.sum())) + torch.repeat_interleave(starts - before, lengths)


def alike(lengths: Tensor, most: int) -> Iterator[Tensor]:
    """Positions of texts of about the same length, at most ``most`` together, the shortest first.

    At most a tenth of a batch is padding, but for batches of a few texts.
    """
    order = lengths.argsort(stable=True)
    rising, start, real = lengths[order].tolist(), 0, 0
    for place, length in enumerate(rising):
        count = place - start
        padding = length * (count + 1) - real - length
        if count == most or (count >= _FEW and padding > WASTE * length * (count + 1)):
            yield order[start:place]
            start, real = place, 0
        real += length
    if start < len(order):
        yield order[start:]


def encode_in_batches(model: Any, words: RaggedTokens, chunk: int) -> Iterator[tuple[Tensor, TextStates]]:
    """Positions of texts, and these encoded, on the device of the model; every text once, in no order."""
    for index in alike(words.lengths, chunk):
        ids, mask = words.select(index).padded()
        yield index, model.encode_text(ids, mask)


def encode_words(model: Any, words: RaggedTokens, chunk: int = 256) -> TextStates:
    """Every text encoded, in their order, in main memory; of equal texts one is computed.

    Args:
        model: The model.
        words: ``T`` texts, one or more.
        chunk: Texts at a time.

    Returns:
        Embeddings ``[T, L, D]``, 0 behind the end of a text.
    """
    first, which = words.distinct()
    return _in_order(list(_encoded(model, words.select(first), chunk)), len(first)).select(which)


def encode_words_together(model: Any, words: RaggedTokens, chunk: int = 256) -> TextStates:
    """What :func:`encode_words` gives, each process computing its share; all of them must be given the same texts."""
    first, which = words.distinct()
    own = torch.arange(rank(), len(first), world_size())
    parts = [(own[index], view) for index, view in _encoded(model, words.select(first[own]), chunk)]
    return _in_order([one for process in all_gather_objects(parts) for one in process], len(first)).select(which)


def _encoded(model: Any, words: RaggedTokens, chunk: int) -> Iterator[tuple[Tensor, TextStates]]:
    for index, view in encode_in_batches(model, words, chunk):
        tensors = {name: value.cpu() for name, value in vars(view).items() if isinstance(value, Tensor)}
        yield index, replace(view, **tensors)


def _in_order(parts: Sequence[tuple[Tensor, TextStates]], count: int) -> TextStates:
    sample, length = parts[0][1], max(view.mask.shape[1] for _, view in parts)
    embeds = sample.embeds.new_zeros(count, length, sample.embeds.shape[2])
    mask = torch.zeros(count, length, dtype=torch.bool)
    feat = None if sample.feat is None else sample.feat.new_empty(count, sample.feat.shape[1])
    for index, view in parts:
        embeds[index, : view.mask.shape[1]] = view.embeds * view.mask[..., None]
        mask[index, : view.mask.shape[1]] = view.mask
        if feat is not None:
            feat[index] = view.feat
    return TextStates(embeds, mask, feat)
