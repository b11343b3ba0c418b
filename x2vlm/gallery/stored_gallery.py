"""A gallery on disk, as :mod:`x2vlm.gallery.encode_gallery` wrote it. Only identities and numbers are in main memory.

Shape letters: C distinct contexts, T texts, n chosen ones.
"""

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from safetensors import safe_open
from torch import Tensor

from x2vlm.building import ConfigError
from x2vlm.gallery.encode_gallery import PARTS, context_file, text_views
from x2vlm.gallery.feature_store import FeatureShard, FeatureStore
from x2vlm.gallery.ragged_tokens import RaggedTokens, ranges
from x2vlm.gallery.resumable import NAME, done, read_strings
from x2vlm.models.outputs import Context, TextStates


class StoredGallery:
    """Contexts and texts in the order of the data set; of contexts that show the same thing the first one counts.

    Args:
        folder: The gallery.
        parts: How many parts it has.

    Attributes:
        context_ids: ``[C]`` identities, all different.
        context_records: ``[C]``, the record that each context is of.
        context_pairs: ``[C]``, and which of the pairs of that record.
        text_ids: ``[T]`` identities of what the texts describe.
        contexts: ``C`` features.
        texts: ``T`` features.

    Raises:
        ConfigError: If parts are missing, or there is nothing in them.
    """

    def __init__(self, folder: Path, parts: int) -> None:
        missing = sorted(set(range(parts)) - done(folder / PARTS))
        if missing:
            raise ConfigError(
                f"{folder} is not complete: {len(missing)} of {parts} parts are missing. Run `x2vlm gallery encode` "
                "again; it goes on where it ended."
            )
        self.folders = [folder / PARTS / NAME.format(number) for number in range(parts)]
        contexts, self._context_starts = self._tables("context_table.npy")
        texts, self._text_starts = self._tables("text_table.npy")
        if not len(contexts):
            raise ConfigError(f"{folder} is empty: none of its records could be used.")
        self._kept = torch.from_numpy(np.sort(np.unique(contexts[:, 0].numpy(), return_index=True)[1]))  # [C]
        kept = contexts[self._kept]
        self.context_ids, self.context_records, self.context_pairs = (kept[:, i].contiguous() for i in range(3))
        self._places = kept[:, 3:]  # batch of the part, pair of the batch
        self.text_ids, self._text_rows = texts[:, 0].contiguous(), texts[:, 2]
        self.contexts = self._rows("contexts.npy", self._kept, self._context_starts)
        self.texts = self._rows("texts.npy", torch.arange(len(texts)), self._text_starts)

    @property
    def has_context_tokens(self) -> bool:
        """Whether the tokens of contexts were stored."""
        return any(next(folder.glob("contexts-*"), None) is not None for folder in self.folders)

    @property
    def has_text_tokens(self) -> bool:
        """Whether the tokens of texts were stored."""
        return any((folder / "text_tokens.safetensors").is_file() for folder in self.folders)

    def where(self, context: int) -> str:
        """The place of the record that a context is of."""
        part, row = self._of_context(torch.tensor([context]))
        return read_strings(self.folders[int(part)] / "wheres.json")[int(row)]

    def words(self, index: Tensor) -> RaggedTokens:
        """The token ids of the texts at ``index``, ``[n]``."""
        found: list[tuple[Tensor, RaggedTokens]] = []
        for folder, here, rows in self._by_part(index, self._text_starts):
            ends = torch.from_numpy(np.load(folder / "ends.npy", allow_pickle=False))
            tokens = np.load(folder / "tokens.npy", mmap_mode="r", allow_pickle=False)
            lengths = ends.diff(prepend=ends.new_zeros(1))[rows]
            chosen = torch.from_numpy(tokens[ranges(ends[rows] - lengths, lengths).numpy()])
            found.append((here, RaggedTokens(chosen, lengths.cumsum(0))))
        return RaggedTokens.join([words for _, words in found]).select(torch.cat([here for here, _ in found]).argsort())

    def text_views(self, index: Tensor) -> TextStates:
        """The texts at ``index``, ``[n]``, encoded, as they were stored, in fp32."""
        lengths, embeds, order = [], [], []
        for folder, here, rows in self._by_part(index, self._text_starts):
            which = self._text_rows[self._text_starts[self.folders.index(folder)] + rows]
            with safe_open(folder / "text_tokens.safetensors", framework="pt") as file:
                ends, stored = file.get_tensor("ends"), file.get_slice("embeds")
                starts = torch.cat([ends.new_zeros(1), ends])
                for one in which.tolist():
                    embeds.append(stored[int(starts[one]) : int(starts[one + 1])].float())
                    lengths.append(len(embeds[-1]))
            order.append(here)
        back = torch.cat(order).argsort().tolist()
        sizes = torch.tensor(lengths)[back]
        return text_views(RaggedTokens(torch.zeros(0), sizes.cumsum(0)), torch.cat([embeds[place] for place in back]))

    def context_views(self, index: Tensor) -> Context:
        """The contexts at ``index``, ``[n]``, encoded, as they were stored, in fp32; of an image read once."""
        parts, _ = self._of_context(index)
        places = torch.cat([parts[:, None], self._places[index]], dim=1)  # part, batch, pair
        files, which = torch.unique(places[:, :2], dim=0, return_inverse=True)
        found, order = [], []
        for number, (part, batch) in enumerate(files.tolist()):
            here = (which == number).nonzero().flatten()
            with safe_open(context_file(self.folders[part], batch), framework="pt") as file:
                pairs = places[here, 2]
                images, owner = torch.unique(file.get_tensor("owner")[pairs], return_inverse=True)
                stored = file.get_slice("tokens")
                tokens = torch.cat([stored[image : image + 1] for image in images.tolist()]).float()
                found.append(Context(tokens, owner, file.get_tensor("mask")[pairs], file.get_tensor("summary")[pairs]))
            order.append(here)
        return join_contexts(found).select(torch.cat(order).argsort())

    def _tables(self, name: str) -> tuple[Tensor, Tensor]:
        tables = [torch.from_numpy(np.load(folder / name, allow_pickle=False)) for folder in self.folders]
        sizes = torch.tensor([len(table) for table in tables])
        return torch.cat(tables), sizes.cumsum(0) - sizes

    def _rows(self, name: str, kept: Tensor, starts: Tensor) -> FeatureStore:
        """The features of the rows that are kept; ``kept`` counts over all parts."""
        bounds = torch.searchsorted(kept, torch.cat([starts, starts.new_tensor([torch.iinfo(torch.long).max])]))
        numbers, pieces, width = torch.arange(len(kept)), [], 0
        for folder, start, first, last in zip(self.folders, starts, bounds[:-1], bounds[1:], strict=True):
            if last > first:
                pieces.append(FeatureShard(folder / name, numbers[first:last], kept[first:last] - start))
                width = np.load(folder / name, mmap_mode="r", allow_pickle=False).shape[1]
        return FeatureStore(pieces, width)

    def _of_context(self, index: Tensor) -> tuple[Tensor, Tensor]:
        rows = self._kept[index]
        parts = torch.searchsorted(self._context_starts, rows, right=True) - 1
        return parts, rows - self._context_starts[parts]

    def _by_part(self, index: Tensor, starts: Tensor) -> Iterator[tuple[Path, Tensor, Tensor]]:
        """For each part concerned: its folder, the positions in ``index``, and the rows in the part."""
        parts = torch.searchsorted(starts, index, right=True) - 1
        for part in torch.unique(parts).tolist():
            here = (parts == part).nonzero().flatten()
            yield self.folders[part], here, index[here] - starts[part]


def join_contexts(parts: list[Context]) -> Context:
    """Contexts of several batches as one; shorter ones (sentences) are padded."""
    length = max(part.tokens.shape[1] for part in parts)
    counts = torch.tensor([len(part.tokens) for part in parts])
    before = counts.cumsum(0) - counts
    pad = torch.nn.functional.pad
    return Context(
        tokens=torch.cat([pad(part.tokens, (0, 0, 0, length - part.tokens.shape[1])) for part in parts]),
        owner=torch.cat([part.owner + start for part, start in zip(parts, before.tolist(), strict=True)]),
        mask=torch.cat([pad(part.mask, (0, length - part.mask.shape[1]), value=False) for part in parts]),
        summary=torch.cat([part.summary for part in parts]),
    )


def read_facts(folder: Path) -> dict:
    """What the folder says of itself.

    Raises:
        ConfigError: If it holds no gallery.
    """
    file = folder / "gallery.json"
    if not file.is_file():
        raise ConfigError(f"{folder} holds no gallery (no gallery.json). Make one: x2vlm gallery encode.")
    return json.loads(file.read_text(encoding="utf-8"))
