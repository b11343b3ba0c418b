"""Reading a gallery from disk. Identities and tables are in main memory; features and tokens are read when needed.

The files are described in :mod:`x2vlm.gallery.gallery_layout`.

Shape letters: C distinct contexts, T texts, n selected ones.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from safetensors import safe_open
from torch import Tensor

from x2vlm.building import ConfigError
from x2vlm.gallery.feature_store import FeatureShard, FeatureStore
from x2vlm.gallery.gallery_layout import SHARDS_FOLDER, TEXT_TOKENS_FILE, context_tokens_file
from x2vlm.gallery.ragged_tokens import RaggedTokens, ranges
from x2vlm.gallery.resumable import SHARD_NAME, finished_shards, read_strings
from x2vlm.models.join_outputs import join_contexts, pad_text_embeds
from x2vlm.models.outputs import Context, TextStates


class StoredGallery:
    """Contexts and texts in the order of the data set; of contexts of equal identity the first is kept.

    Args:
        folder: The gallery.
        num_shards: How many shards it has.

    Attributes:
        context_ids: ``[C]`` identities, all different.
        context_records: ``[C]``, the record index of each context.
        context_pairs: ``[C]``, its position among the pairs of that record.
        text_ids: ``[T]`` identities of the contexts that the texts describe.
        context_feats: ``C`` features.
        text_feats: ``T`` features.

    Raises:
        ConfigError: If shards are missing, or all are empty.
    """

    def __init__(self, folder: Path, num_shards: int) -> None:
        missing = sorted(set(range(num_shards)) - finished_shards(folder / SHARDS_FOLDER))
        if missing:
            raise ConfigError(
                f"{folder} is not complete: {len(missing)} of {num_shards} shards are missing. Run "
                "`x2vlm gallery encode` again; it resumes where it ended."
            )
        self.shards = [folder / SHARDS_FOLDER / SHARD_NAME.format(number) for number in range(num_shards)]
        contexts, self._context_starts = self._read_tables("context_table.npy")
        texts, self._text_starts = self._read_tables("text_table.npy")
        if not len(contexts):
            raise ConfigError(f"{folder} is empty: none of its records could be used.")
        self._rows = torch.from_numpy(np.sort(np.unique(contexts[:, 0].numpy(), return_index=True)[1]))  # [C]
        table = contexts[self._rows]
        self.context_ids, self.context_records, self.context_pairs = (table[:, i].contiguous() for i in range(3))
        self._batch_and_pair = table[:, 3:]  # batch of the shard, pair of the batch
        self.text_ids, self._distinct_texts = texts[:, 0].contiguous(), texts[:, 2]
        self.context_feats = self._features("contexts.npy", self._rows, self._context_starts)
        self.text_feats = self._features("texts.npy", torch.arange(len(texts)), self._text_starts)

    @property
    def has_context_tokens(self) -> bool:
        """Whether the tokens of contexts were stored."""
        return any(next(shard.glob("contexts-*"), None) is not None for shard in self.shards)

    @property
    def has_text_tokens(self) -> bool:
        """Whether the tokens of texts were stored."""
        return any((shard / TEXT_TOKENS_FILE).is_file() for shard in self.shards)

    def where(self, context: int) -> str:
        """File and line (or the like) of the record that a context comes from."""
        shard, row = self._locate_contexts(torch.tensor([context]))
        return read_strings(self.shards[int(shard)] / "wheres.json")[int(row)]

    def read_text_ids(self, index: Tensor) -> RaggedTokens:
        """The token ids of the texts at ``index``, ``[n]``."""
        selections: list[RaggedTokens] = []
        order: list[Tensor] = []
        for number, positions, rows in self._locate_texts(index):
            ends = torch.from_numpy(np.load(self.shards[number] / "ends.npy", allow_pickle=False))
            tokens = np.load(self.shards[number] / "tokens.npy", mmap_mode="r", allow_pickle=False)
            lengths = ends.diff(prepend=ends.new_zeros(1))[rows]
            selected = torch.from_numpy(tokens[ranges(ends[rows] - lengths, lengths).numpy()])
            selections.append(RaggedTokens(selected, lengths.cumsum(0)))
            order.append(positions)
        return RaggedTokens.join(selections).select(torch.cat(order).argsort())

    def read_texts(self, index: Tensor) -> TextStates:
        """The stored encoding of the texts at ``index``, ``[n]``, in fp32."""
        embeds, order = [], []
        for number, positions, rows in self._locate_texts(index):
            distinct = self._distinct_texts[self._text_starts[number] + rows]
            with safe_open(self.shards[number] / TEXT_TOKENS_FILE, framework="pt") as file:
                ends, stored = file.get_tensor("ends"), file.get_slice("embeds")
                starts = torch.cat([ends.new_zeros(1), ends]).tolist()
                embeds += [stored[starts[text] : starts[text + 1]].float() for text in distinct.tolist()]
            order.append(positions)
        inverse = torch.cat(order).argsort().tolist()
        in_order = [embeds[position] for position in inverse]
        return pad_text_embeds(torch.cat(in_order), torch.tensor([len(text) for text in in_order]))

    def read_contexts(self, index: Tensor) -> Context:
        """The stored encoding of the contexts at ``index``, ``[n]``, in fp32; each image is read once."""
        shards, _ = self._locate_contexts(index)
        table = torch.cat([shards[:, None], self._batch_and_pair[index]], dim=1)  # shard, batch, pair
        files, file_of = torch.unique(table[:, :2], dim=0, return_inverse=True)
        contexts, order = [], []
        for number, (shard, batch) in enumerate(files.tolist()):
            positions = (file_of == number).nonzero().flatten()
            with safe_open(context_tokens_file(self.shards[shard], batch), framework="pt") as file:
                pairs = table[positions, 2]
                images, owner = torch.unique(file.get_tensor("owner")[pairs], return_inverse=True)
                stored = file.get_slice("tokens")
                tokens = torch.cat([stored[image : image + 1] for image in images.tolist()]).float()
                mask, summary = (file.get_tensor(name)[pairs] for name in ("mask", "summary"))
                contexts.append(Context(tokens, owner, mask, summary))
            order.append(positions)
        return join_contexts(contexts).select(torch.cat(order).argsort())

    def _read_tables(self, name: str) -> tuple[Tensor, Tensor]:
        """A table over all shards, and the row at which each shard starts."""
        tables = [torch.from_numpy(np.load(shard / name, allow_pickle=False)) for shard in self.shards]
        sizes = torch.tensor([len(table) for table in tables])
        return torch.cat(tables), sizes.cumsum(0) - sizes

    def _features(self, name: str, rows: Tensor, starts: Tensor) -> FeatureStore:
        """The features at ``rows``, which count over all shards."""
        bounds = torch.searchsorted(rows, torch.cat([starts, starts.new_tensor([torch.iinfo(torch.long).max])]))
        indices, shards, width = torch.arange(len(rows)), [], 0
        for shard, start, first, last in zip(self.shards, starts, bounds[:-1], bounds[1:], strict=True):
            if last > first:
                shards.append(FeatureShard(shard / name, indices[first:last], rows[first:last] - start))
                width = np.load(shard / name, mmap_mode="r", allow_pickle=False).shape[1]
        return FeatureStore(shards, width)

    def _locate_contexts(self, index: Tensor) -> tuple[Tensor, Tensor]:
        """Shard number and row in that shard of the contexts at ``index``, ``[n]`` each."""
        rows = self._rows[index]
        shards = torch.searchsorted(self._context_starts, rows, right=True) - 1
        return shards, rows - self._context_starts[shards]

    def _locate_texts(self, index: Tensor) -> Iterator[tuple[int, Tensor, Tensor]]:
        """For each shard with texts of ``index``: its number, their positions in ``index``, their rows in the shard."""
        shards = torch.searchsorted(self._text_starts, index, right=True) - 1
        for number in torch.unique(shards).tolist():
            positions = (shards == number).nonzero().flatten()
            yield number, positions, index[positions] - self._text_starts[number]
