"""The files of a gallery on disk.

A shard holds the contexts and texts of a range of records::

    parts/000007/
      contexts.npy       [C, E] features, fp32
      context_table.npy  [C, 5] identity, record, pair of the record, batch of the shard, pair of the batch
      wheres.json        C strings, the file and line (or the like) of each context's record
      texts.npy          [T, E] features, fp32
      text_table.npy     [T, 3] identity, record, index among the shard's distinct texts
      tokens.npy, ends.npy   token ids of the texts, concatenated, and the end of each
      texts.json         T strings
      contexts-00003.safetensors   a batch of encoded contexts; only with context_tokens
      text_tokens.safetensors      the distinct texts, encoded, concatenated; only with text_tokens

Shape letters: C contexts, T texts, E embed_dim.
"""

from dataclasses import dataclass
from math import ceil
from pathlib import Path

import torch
from safetensors.torch import save

from x2vlm.models.outputs import Context

SHARDS_FOLDER = "parts"
TEXT_TOKENS_FILE = "text_tokens.safetensors"
DTYPES = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}


@dataclass(frozen=True)
class GalleryStorage:
    """What a gallery stores beside its features.

    Attributes:
        part_records: Records in a shard, rounded up to whole batches: the most that a killed run has to repeat.
        context_tokens: ``fp32``, ``fp16`` or ``bf16`` stores the tokens of every image, which re-ranking then reads: at
            384 pixels and width 768 an image takes 1.8 MB in fp32. None: re-ranking encodes its candidates again.
        text_tokens: The same for texts, 3 KB a token in fp32.

    Raises:
        ValueError: If a value is not one of these.
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


def shard_ranges(records: int, batch_size: int, storage: GalleryStorage) -> list[range]:
    """The record indices of each shard, for a data set of so many records."""
    size = ceil(storage.part_records / batch_size) * batch_size
    return [range(start, min(records, start + size)) for start in range(0, records, size)]


def context_tokens_file(shard: Path, batch: int) -> Path:
    """The file with the tokens of a batch of contexts."""
    return shard / f"contexts-{batch:05d}.safetensors"


def write_context_tokens(shard: Path, batch: int, context: Context, dtype: torch.dtype) -> None:
    """Store what re-ranking needs of encoded contexts, tokens in ``dtype``."""
    tensors = {
        "tokens": context.tokens.to(dtype),
        "owner": context.owner,
        "mask": context.mask,
        "summary": context.summary.float(),
    }
    contiguous = {name: tensor.contiguous() for name, tensor in tensors.items()}
    context_tokens_file(shard, batch).write_bytes(save(contiguous))
