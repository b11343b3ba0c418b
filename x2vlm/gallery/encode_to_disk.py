"""Encode a gallery of any size into a folder, shard by shard, each process its share; a killed run resumes.

The files are described in :mod:`x2vlm.gallery.gallery_layout`.
"""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save
from torch import Tensor

from x2vlm.data.batch import Batch
from x2vlm.distributed import all_gather_objects
from x2vlm.gallery.gallery_dataset import GalleryData, pair_keys
from x2vlm.gallery.gallery_layout import (
    DTYPES,
    SHARDS_FOLDER,
    TEXT_TOKENS_FILE,
    GalleryStorage,
    shard_ranges,
    write_context_tokens,
)
from x2vlm.gallery.progress import Progress
from x2vlm.gallery.ragged_tokens import RaggedTokens, encode_length_buckets, ranges
from x2vlm.gallery.resumable import SHARD_NAME, assign_missing_shards, atomic_folder
from x2vlm.gallery.score_check import check_not_nan
from x2vlm.gallery.select_pairs import first_occurrences, select_pairs
from x2vlm.models.eval_mode import eval_mode
from x2vlm.models.join_outputs import to_cpu


class _ConcatRanges:
    """Several ranges as one iterable of known length."""

    def __init__(self, ranges: Sequence[range]) -> None:
        self.ranges = ranges

    def __iter__(self) -> Iterator[int]:
        return (index for indices in self.ranges for index in indices)

    def __len__(self) -> int:
        return sum(map(len, self.ranges))


def encode_gallery(model: Any, data: GalleryData, folder: Path, storage: GalleryStorage, chunk: int = 256) -> None:
    """Write every missing shard; all processes together, each its share.

    Contexts of equal identity are encoded once in each shard, and so are equal texts.

    Args:
        model: The model.
        data: The data set.
        folder: The gallery; all processes must see it.
        storage: What is stored.
        chunk: Texts encoded at once.

    Raises:
        ValueError: If batches have no context or no ids, or a feature is not a number.
        SaveError: If a file cannot be written.
        TooManyBadRecordsError: If too many records cannot be used.
    """
    record_ranges = shard_ranges(len(data.dataset), data.batch_size, storage)
    assigned = assign_missing_shards(folder / SHARDS_FOLDER, len(record_ranges))
    records = _ConcatRanges([record_ranges[number] for number in assigned])
    batches = data.batches(records)
    with eval_mode(model), Progress("encoding", len(records), "records") as progress:
        for number in assigned:
            with atomic_folder(folder / SHARDS_FOLDER / SHARD_NAME.format(number)) as temporary:
                shard = _ShardWriter(model, temporary, storage)
                for start in range(0, len(record_ranges[number]), data.batch_size):
                    batch = next(batches)
                    data.bad_record_log.note(data.name, batch)
                    if len(batch):
                        shard.add(batch)
                    progress.add(min(data.batch_size, len(record_ranges[number]) - start))
                shard.finish(chunk)
    all_gather_objects(None)  # a barrier: no process reads before all have written


class _ShardWriter:
    """Encodes batches and writes the files of one shard."""

    def __init__(self, model: Any, folder: Path, storage: GalleryStorage) -> None:
        self.model, self.folder, self.storage = model, folder, storage
        self.seen: set[int] = set()
        self.batches = 0
        self.feats: list[Tensor] = []
        self.context_rows: list[Tensor] = []
        self.text_rows: list[Tensor] = []
        self.tokens: list[RaggedTokens] = []
        self.wheres: list[str] = []
        self.texts: list[str] = []

    def add(self, batch: Batch) -> None:
        """Encode the new contexts of a batch, and collect its texts."""
        records, pairs = pair_keys(batch)
        new = first_occurrences(batch.ids, self.seen)
        if len(new):
            context = to_cpu(self.model.encode_context(select_pairs(batch, new).to(self.model.device)))
            self.feats.append(_checked(context.feat))
            number = torch.full_like(new, self.batches)
            columns = [batch.ids[new], records[new], pairs[new], number, torch.arange(len(new))]
            self.context_rows.append(torch.stack(columns, dim=1))
            self.wheres += [batch.where[pair] for pair in new.tolist()]
            if self.storage.context_tokens:
                write_context_tokens(self.folder, self.batches, context, DTYPES[self.storage.context_tokens])
        if batch.text_ids is not None:
            self.tokens.append(RaggedTokens.from_padded(batch.text_ids, batch.text_mask))
            self.text_rows.append(torch.stack([batch.ids, records], dim=1))
            self.texts += batch.texts
        self.batches += 1

    def finish(self, chunk: int) -> None:
        """Encode the texts, and write all files but the tokens of contexts, which are written already."""
        tokens = RaggedTokens.join(self.tokens)
        first, inverse = tokens.unique()
        tensors = {
            "contexts": torch.cat(self.feats) if self.feats else torch.zeros(0, 0),
            "context_table": _table(self.context_rows, 5),
            "texts": self._encode_texts(tokens.select(first), chunk)[inverse],
            "text_table": torch.cat([_table(self.text_rows, 2), inverse[:, None]], dim=1),
            "tokens": tokens.tokens,
            "ends": tokens.ends,
        }
        for name, tensor in tensors.items():
            np.save(self.folder / f"{name}.npy", tensor.numpy(), allow_pickle=False)
        for name, strings in (("wheres", self.wheres), ("texts", self.texts)):
            (self.folder / f"{name}.json").write_text(json.dumps(strings, ensure_ascii=False), encoding="utf-8")

    def _encode_texts(self, tokens: RaggedTokens, chunk: int) -> Tensor:
        feats, embeds = torch.zeros(0, 0), None
        for index, text in encode_length_buckets(self.model, tokens, chunk) if len(tokens) else ():
            if not len(feats):
                feats = torch.empty(len(tokens), text.feat.shape[1])
            feats[index] = _checked(text.feat.cpu())
            if self.storage.text_tokens:
                if embeds is None:
                    shape = int(tokens.ends[-1]), text.embeds.shape[2]
                    embeds = torch.empty(shape, dtype=DTYPES[self.storage.text_tokens])
                lengths = tokens.lengths[index]
                embeds[ranges(tokens.ends[index] - lengths, lengths)] = text.embeds[text.mask].cpu().to(embeds.dtype)
        if embeds is not None:
            (self.folder / TEXT_TOKENS_FILE).write_bytes(save({"embeds": embeds, "ends": tokens.ends}))
        return feats


def _checked(feats: Tensor) -> Tensor:
    check_not_nan(feats, "features", allow_infinity=False)
    return feats.float()


def _table(rows: Sequence[Tensor], width: int) -> Tensor:
    return torch.cat([torch.zeros(0, width, dtype=torch.long), *rows])
