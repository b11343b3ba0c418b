"""Encode a gallery of any size into a folder: part by part, each process its own, going on where a killed run ended.

A part holds what the records of one range gave::

    parts/000007/
      contexts.npy       [C, E] features, fp32
      context_table.npy  [C, 5] identity, record, pair of the record, batch of the part, pair of the batch
      wheres.json        C places of the records
      texts.npy          [T, E] features, fp32
      text_table.npy     [T, 3] identity, record, which of the part's distinct texts
      tokens.npy, ends.npy   the texts' token ids, one text behind the other, and where each ends
      texts.json         T strings
      contexts-00003.safetensors   a batch of encoded contexts; only with context_tokens
      text_tokens.safetensors      the distinct texts, encoded, one behind the other; only with text_tokens

Shape letters: C contexts, T texts, S tokens of all texts, E embed_dim, D width.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import ceil
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save
from torch import Tensor

from x2vlm.data.batch import Batch
from x2vlm.distributed import all_gather_objects
from x2vlm.gallery.gallery_dataset import GalleryData, pair_keys
from x2vlm.gallery.progress import Progress
from x2vlm.gallery.ragged_tokens import RaggedTokens, encode_in_batches, ranges
from x2vlm.gallery.resumable import NAME, share_of_missing, whole_folder
from x2vlm.gallery.retrieval_features import only_pairs, to_cpu, unseen
from x2vlm.models.eval_mode import eval_mode
from x2vlm.models.outputs import Context, TextStates

PARTS = "parts"
DTYPES = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}


@dataclass(frozen=True)
class Storing:
    """What of a gallery is stored, beside its features.

    Attributes:
        part_records: Records in a part, rounded up to whole batches: what a killed run may lose.
        context_tokens: ``fp32``, ``fp16`` or ``bf16`` stores the tokens of every image, which re-ranking then reads: at
            384 pixels and width 768 an image takes 1.8 MB in fp32. None: re-ranking encodes its candidates again.
        text_tokens: The same for texts, 3 KB a token in fp32.
    """

    part_records: int = 1024
    context_tokens: str | None = None
    text_tokens: str | None = None

    def __post_init__(self) -> None:
        if self.part_records < 1:
            raise ValueError(f"part_records is {self.part_records}; expected 1 or more.")
        for name in ("context_tokens", "text_tokens"):
            if getattr(self, name) not in (None, *DTYPES):
                raise ValueError(f"{name} is {getattr(self, name)!r}; expected {', '.join(DTYPES)} or None.")


def part_ranges(records: int, batch_size: int, storing: Storing) -> list[range]:
    """Which records are in which part."""
    size = ceil(storing.part_records / batch_size) * batch_size
    return [range(first, min(records, first + size)) for first in range(0, records, size)]


class _RecordsOf:
    """The records of some parts, one part behind the other."""

    def __init__(self, parts: Sequence[range]) -> None:
        self.parts = parts

    def __iter__(self) -> Iterator[int]:
        return (number for part in self.parts for number in part)

    def __len__(self) -> int:
        return sum(map(len, self.parts))


def encode_gallery(model: Any, data: GalleryData, folder: Path, storing: Storing, chunk: int = 256) -> None:
    """Write every part that is not there; all processes together, each its share.

    Contexts that show the same thing are encoded once in each part; of equal texts of a part one is encoded.

    Args:
        model: The model.
        data: What is encoded.
        folder: Where; other processes must see it too.
        storing: What is stored.
        chunk: Texts encoded at once.

    Raises:
        ValueError: If batches have no context or no ids, or a feature is not a number.
        SaveError: If the disk does not take it.
        TooManyBadRecordsError: If too many records cannot be used.
    """
    cut = part_ranges(len(data.dataset), data.batch_size, storing)
    own = share_of_missing(folder / PARTS, len(cut))
    records = _RecordsOf([cut[number] for number in own])
    batches = data.batches(records)
    with eval_mode(model), Progress("encoding", len(records), "records") as progress:
        for number in own:
            with whole_folder(folder / PARTS / NAME.format(number)) as aside:
                part = _Part(model, aside, storing)
                for first in range(0, len(cut[number]), data.batch_size):
                    batch = next(batches)
                    data.ledger.note(data.name, batch)
                    if len(batch):
                        part.add(batch)
                    progress.add(min(data.batch_size, len(cut[number]) - first))
                part.finish(chunk)
    all_gather_objects(None)  # nobody reads before all have written


class _Part:
    """One part while it is made."""

    def __init__(self, model: Any, folder: Path, storing: Storing) -> None:
        self.model, self.folder, self.storing = model, folder, storing
        self.seen: set[int] = set()
        self.batches = 0
        self.feats: list[Tensor] = []
        self.context_rows: list[Tensor] = []
        self.text_rows: list[Tensor] = []
        self.words: list[RaggedTokens] = []
        self.wheres: list[str] = []
        self.texts: list[str] = []

    def add(self, batch: Batch) -> None:
        """Encode the contexts of a batch, and note its texts."""
        records, pairs = pair_keys(batch)
        new = unseen(batch.ids, self.seen)
        if len(new):
            context = to_cpu(self.model.encode_context(only_pairs(batch, new).to(self.model.device)))
            self.feats.append(_finite(context.feat))
            place = torch.full_like(new, self.batches)
            self.context_rows.append(
                torch.stack([batch.ids[new], records[new], pairs[new], place, torch.arange(len(new))], dim=1)
            )
            self.wheres += [batch.where[pair] for pair in new.tolist()]
            if self.storing.context_tokens:
                write_context(self.folder, self.batches, context, DTYPES[self.storing.context_tokens])
        if batch.text_ids is not None:
            self.words.append(RaggedTokens.of(batch.text_ids, batch.text_mask))
            self.text_rows.append(torch.stack([batch.ids, records], dim=1))
            self.texts += batch.texts
        self.batches += 1

    def finish(self, chunk: int) -> None:
        """Encode the texts, and write all but the tokens of contexts, which are there already."""
        words = RaggedTokens.join(self.words)
        first, which = words.distinct()
        feats = self._encode_texts(words.select(first), chunk)[which]
        _save(
            self.folder / "contexts.npy", torch.cat([torch.zeros(0, 0), *self.feats] if not self.feats else self.feats)
        )
        _save(self.folder / "context_table.npy", _rows(self.context_rows, 5))
        _save(self.folder / "texts.npy", feats)
        _save(self.folder / "text_table.npy", torch.cat([_rows(self.text_rows, 2), which[:, None]], dim=1))
        _save(self.folder / "tokens.npy", words.tokens)
        _save(self.folder / "ends.npy", words.ends)
        for name, strings in (("wheres", self.wheres), ("texts", self.texts)):
            (self.folder / f"{name}.json").write_text(json.dumps(strings, ensure_ascii=False), encoding="utf-8")

    def _encode_texts(self, words: RaggedTokens, chunk: int) -> Tensor:
        feats, embeds = torch.zeros(0, 0), None
        for index, view in encode_in_batches(self.model, words, chunk) if len(words) else ():
            if not len(feats):
                feats = torch.empty(len(words), view.feat.shape[1])
            feats[index] = _finite(view.feat.cpu())
            if self.storing.text_tokens:
                if embeds is None:
                    shape = int(words.ends[-1]), view.embeds.shape[2]
                    embeds = torch.empty(shape, dtype=DTYPES[self.storing.text_tokens])
                lengths = words.lengths[index]
                embeds[ranges(words.ends[index] - lengths, lengths)] = view.embeds[view.mask].cpu().to(embeds.dtype)
        if embeds is not None:
            tensors = {"embeds": embeds, "ends": words.ends}
            (self.folder / "text_tokens.safetensors").write_bytes(save(tensors))
        return feats


def context_file(folder: Path, batch: int) -> Path:
    """Where the tokens of a batch of contexts lie."""
    return folder / f"contexts-{batch:05d}.safetensors"


def write_context(folder: Path, batch: int, context: Context, dtype: torch.dtype) -> None:
    """Store what re-ranking needs of encoded contexts, tokens in ``dtype``."""
    tensors = {
        "tokens": context.tokens.to(dtype),
        "owner": context.owner,
        "mask": context.mask,
        "summary": context.summary.float(),
    }
    context_file(folder, batch).write_bytes(save({name: one.contiguous() for name, one in tensors.items()}))


def text_views(words: RaggedTokens, embeds: Tensor) -> TextStates:
    """Texts whose embeddings ``[S, D]`` lie one behind the other, padded."""
    mask = torch.arange(int(words.lengths.max()))[None] < words.lengths[:, None]
    rows = embeds.new_zeros(*mask.shape, embeds.shape[1])
    rows[mask] = embeds
    return TextStates(rows, mask)


def _finite(feats: Tensor) -> Tensor:
    if not torch.isfinite(feats).all():
        raise ValueError(
            "some features are not a number (NaN): the model has diverged, or its weights were not loaded."
        )
    return feats.float()


def _rows(parts: Sequence[Tensor], width: int) -> Tensor:
    return torch.cat([torch.zeros(0, width, dtype=torch.long), *parts])


def _save(path: Path, tensor: Tensor) -> None:
    np.save(path, tensor.numpy(), allow_pickle=False)
