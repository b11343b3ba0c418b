"""What retrieval searches: each distinct context and each text, encoded once.

Features and texts are known to every process; the tokens of a context stay with the process that encoded it, which
later scores texts against them. What is kept lies in main memory, whatever device the model is on.

Shape letters: C distinct contexts, T texts, B pairs of a batch, L tokens, D width, E embed_dim.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from x2vlm.data.batch import Batch
from x2vlm.distributed import all_gather_objects, rank
from x2vlm.gallery.ragged_tokens import RaggedTokens, encode_words_together
from x2vlm.models.outputs import Context, TextStates


@dataclass(frozen=True)
class RetrievalFeatures:
    """Contexts and texts to search.

    Attributes:
        context_ids: ``[C]`` identities, all different.
        context_feats: ``[C, E]``, L2-normalised.
        text_ids: ``[T]`` identities of what the texts describe.
        texts: The ``T`` encoded texts.
        own: The contexts whose tokens this process holds, a part per batch.
        columns: For each part of ``own``, which of the ``C`` contexts its contexts are; -1 where another process is the
            one to score a context that both met.
    """

    context_ids: Tensor
    context_feats: Tensor
    text_ids: Tensor
    texts: TextStates
    own: list[Context]
    columns: list[Tensor]


@dataclass(frozen=True)
class EncodedOnce:
    """What a process met, with the number of the record that each context and text came from."""

    context_ids: Tensor
    context_feats: Tensor
    context_records: Tensor
    text_ids: Tensor
    text_records: Tensor
    words: RaggedTokens


def encode_retrieval_set(model: Any, loader: Iterable[Batch]) -> RetrievalFeatures:
    """Encode what the loaders of all processes yield, each its own share of the records.

    Pairs with equal ids share a context: two captions of one image, wherever they come from. It is encoded where it is
    met first, and once in each process at most. Of equal texts one is encoded, and each process encodes its share.

    Raises:
        ValueError: If batches have no context or no ids, or the loaders yield nothing.
    """
    own: list[Context] = []
    met: list[EncodedOnce] = []
    seen: set[int] = set()
    records = 0
    for batch in loader:
        if not len(batch):
            continue
        _check(batch)
        new, ids = unseen(batch.ids, seen), batch.ids.cpu()
        numbers = records + _record_numbers(batch)
        records = int(numbers[-1]) + 1
        words, feats = RaggedTokens.of(batch.text_ids, batch.text_mask), torch.zeros(0, 0)
        if len(new):
            own.append(to_cpu(model.encode_context(only_pairs(batch, new).to(model.device))))
            feats = own[-1].feat
        met.append(EncodedOnce(ids[new], feats, numbers[new], ids, numbers, words))
    everywhere = [(number, one) for number, process in enumerate(all_gather_objects(met)) for one in process]
    return _sort_out(model, everywhere, own, [one.context_ids for one in met])


def unseen(ids: Tensor, seen: set[int]) -> Tensor:
    """The first pair of each identity that is not in ``seen`` yet, in order, as positions; ``seen`` takes them up."""
    new = []
    for position, identity in enumerate(ids.tolist()):
        if identity not in seen:
            seen.add(identity)
            new.append(position)
    return torch.tensor(new, dtype=torch.long)


def only_pairs(batch: Batch, pairs: Tensor) -> Batch:
    """The pairs at these positions with the contexts they look at, and nothing else."""
    used, owner = torch.unique(batch.owner[pairs], return_inverse=True)
    names = ("text_ids", "text_mask", "boxes_xyxy", "has_box", "patch_mask", "ids")
    per_pair = {name: getattr(batch, name) for name in names}
    per_context = {name: getattr(batch, name) for name in ("pixels", "context_ids", "context_text_mask")}
    return Batch(
        owner=owner,
        **{name: None if value is None else value[pairs] for name, value in per_pair.items()},
        **{name: None if value is None else value[used] for name, value in per_context.items()},
    )


def join_texts(texts: Sequence[TextStates]) -> TextStates:
    """Texts of several batches as one, padded to the longest."""
    length = max(text.mask.shape[1] for text in texts)
    return TextStates(
        embeds=torch.cat([nn.functional.pad(t.embeds, (0, 0, 0, length - t.embeds.shape[1])) for t in texts]),
        mask=torch.cat([nn.functional.pad(t.mask, (0, length - t.mask.shape[1]), value=False) for t in texts]),
        feat=None if texts[0].feat is None else torch.cat([text.feat for text in texts]),
    )


def _sort_out(
    model: Any, everywhere: list[tuple[int, EncodedOnce]], own: list[Context], own_ids: list[Tensor]
) -> RetrievalFeatures:
    """One order for all processes: by record, then by process, which is the data set's where processes take turns."""
    if not everywhere:
        raise ValueError("there is nothing to search: the loader yielded no pairs.")
    met = [one for _, one in everywhere]
    context_ids = torch.cat([one.context_ids for one in met])
    holder = torch.cat([torch.full_like(one.context_ids, number) for number, one in everywhere])
    order = _by_record([one.context_records for one in met])
    order = order[unseen(context_ids[order], set())]
    context_ids, holder = context_ids[order], holder[order]
    column = {int(i): c if holder[c] == rank() else -1 for c, i in enumerate(context_ids)}
    text_order = _by_record([one.text_records for one in met])
    return RetrievalFeatures(
        context_ids=context_ids,
        context_feats=torch.cat([one.context_feats for one in met if len(one.context_ids)])[order],
        text_ids=torch.cat([one.text_ids for one in met])[text_order],
        texts=encode_words_together(model, RaggedTokens.join([one.words for one in met]).select(text_order)),
        own=own,
        columns=[torch.tensor([column[int(i)] for i in ids]) for ids in own_ids if len(ids)],
    )


def _by_record(records: list[Tensor]) -> Tensor:
    return torch.cat(records).argsort(stable=True)


def _record_numbers(batch: Batch) -> Tensor:
    """``[B]``, counting the records of a batch from 0: pairs in a row from the same place are one record."""
    if not batch.where:
        return torch.arange(len(batch))
    changes = [int(before != after) for before, after in zip(batch.where[:-1], batch.where[1:], strict=True)]
    return torch.tensor([0, *changes]).cumsum(0)


def _check(batch: Batch) -> None:
    if batch.owner is None:
        raise ValueError("retrieval needs contexts (images, regions, videos), but this evaluation yields plain text.")
    if batch.text_ids is None:
        raise ValueError("retrieval needs texts, but this evaluation yields pictures alone.")
    if batch.ids is None:
        raise ValueError("retrieval needs Batch.ids, which say which texts belong to which context.")


def to_cpu(encoded: Any) -> Any:
    """A context or texts with every tensor in main memory."""
    return replace(encoded, **{name: value.cpu() for name, value in vars(encoded).items() if isinstance(value, Tensor)})
