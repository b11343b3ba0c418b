"""Encode the contexts and texts of a retrieval evaluation, each distinct one once, in main memory.

Features and texts are gathered to every process; the tokens of a context stay in the process that encoded it, which
later scores texts against them.

Shape letters: C distinct contexts, T texts, B pairs of a batch, E embed_dim.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from x2vlm.data.batch import Batch
from x2vlm.distributed import all_gather_objects, rank
from x2vlm.gallery.ragged_tokens import RaggedTokens, encode_texts_distributed
from x2vlm.gallery.select_pairs import first_occurrences, select_pairs
from x2vlm.models.join_outputs import to_cpu
from x2vlm.models.outputs import Context, TextStates


@dataclass(frozen=True)
class RetrievalFeatures:
    """Encoded contexts and texts to search.

    Attributes:
        context_ids: ``[C]`` identities, all different.
        context_feats: ``[C, E]``, L2-normalised.
        text_ids: ``[T]`` identities of the contexts that the texts describe.
        texts: The ``T`` encoded texts.
        local_contexts: The contexts whose tokens this process holds, by batch.
        local_columns: For each batch of ``local_contexts``, the index of its contexts among the ``C``; -1 where another
            process scores a context that both encoded.
    """

    context_ids: Tensor
    context_feats: Tensor
    text_ids: Tensor
    texts: TextStates
    local_contexts: list[Context]
    local_columns: list[Tensor]


@dataclass(frozen=True)
class _EncodedPairs:
    """New contexts and all texts of a batch, with the record number of each in its process."""

    context_ids: Tensor
    context_feats: Tensor
    context_records: Tensor
    text_ids: Tensor
    text_records: Tensor
    tokens: RaggedTokens


def encode_retrieval_set(model: Any, loader: Iterable[Batch]) -> RetrievalFeatures:
    """Encode what the loaders of all processes yield, each its own share of the records.

    Pairs with equal ids share a context, such as two captions of one image, in one record or several. It is encoded at
    its first pair, at most once in each process. Equal texts are encoded once, shared between the processes.

    Raises:
        ValueError: If batches have no context or no ids, or the loaders yield nothing.
    """
    local_contexts: list[Context] = []
    encoded: list[_EncodedPairs] = []
    seen: set[int] = set()
    count = 0
    for batch in loader:
        if not len(batch):
            continue
        _check(batch)
        new, ids = first_occurrences(batch.ids, seen), batch.ids.cpu()
        records = count + _record_numbers(batch)
        count = int(records[-1]) + 1
        tokens, feats = RaggedTokens.from_padded(batch.text_ids, batch.text_mask), torch.zeros(0, 0)
        if len(new):
            local_contexts.append(to_cpu(model.encode_context(select_pairs(batch, new).to(model.device))))
            feats = local_contexts[-1].feat
        encoded.append(_EncodedPairs(ids[new], feats, records[new], ids, records, tokens))
    gathered = [(number, pairs) for number, process in enumerate(all_gather_objects(encoded)) for pairs in process]
    return _merge(model, gathered, local_contexts, [pairs.context_ids for pairs in encoded])


def _merge(
    model: Any, gathered: list[tuple[int, _EncodedPairs]], local_contexts: list[Context], local_ids: list[Tensor]
) -> RetrievalFeatures:
    """Order everything by record, then by process: the order of the data set, whose records go round the processes."""
    if not gathered:
        raise ValueError("there is nothing to search: the loader yielded no pairs.")
    encoded = [pairs for _, pairs in gathered]
    context_ids = torch.cat([pairs.context_ids for pairs in encoded])
    holder = torch.cat([torch.full_like(pairs.context_ids, number) for number, pairs in gathered])
    order = _record_order([pairs.context_records for pairs in encoded])
    order = order[first_occurrences(context_ids[order], set())]
    context_ids, holder = context_ids[order], holder[order]
    column = {int(i): c if holder[c] == rank() else -1 for c, i in enumerate(context_ids)}
    text_order = _record_order([pairs.text_records for pairs in encoded])
    tokens = RaggedTokens.join([pairs.tokens for pairs in encoded])
    return RetrievalFeatures(
        context_ids=context_ids,
        context_feats=torch.cat([pairs.context_feats for pairs in encoded if len(pairs.context_ids)])[order],
        text_ids=torch.cat([pairs.text_ids for pairs in encoded])[text_order],
        texts=encode_texts_distributed(model, tokens.select(text_order)),
        local_contexts=local_contexts,
        local_columns=[torch.tensor([column[int(i)] for i in ids]) for ids in local_ids if len(ids)],
    )


def _record_order(records: list[Tensor]) -> Tensor:
    return torch.cat(records).argsort(stable=True)


def _record_numbers(batch: Batch) -> Tensor:
    """``[B]``, the records of a batch counted from 0: consecutive pairs with equal ``where`` are one record."""
    if not batch.where:
        return torch.arange(len(batch))
    changes = [int(before != after) for before, after in zip(batch.where[:-1], batch.where[1:], strict=True)]
    return torch.tensor([0, *changes]).cumsum(0)


def _check(batch: Batch) -> None:
    if batch.owner is None:
        raise ValueError("retrieval needs contexts (images, regions, videos), but this evaluation yields plain text.")
    if batch.text_ids is None:
        raise ValueError("retrieval needs texts, but this evaluation yields images without texts.")
    if batch.ids is None:
        raise ValueError("retrieval needs Batch.ids, which say which texts belong to which context.")
