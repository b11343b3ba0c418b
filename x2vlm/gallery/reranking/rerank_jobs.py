"""Matching logits of many pairs of a gallery on disk, in resumable jobs that all processes share.

A job holds all pairs of its contexts, whose keys and values are projected once. The scores of a finished job are stored
as a shard and never computed again.

Shape letters: P pairs to score.
"""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from x2vlm.building import ConfigError
from x2vlm.distributed import all_gather_objects
from x2vlm.gallery.gallery_dataset import GalleryData, pair_keys
from x2vlm.gallery.progress import Progress
from x2vlm.gallery.ragged_tokens import RaggedTokens, encode_texts
from x2vlm.gallery.reranking.rerank_key_values import positive_logits
from x2vlm.gallery.resumable import SHARD_NAME, assign_missing_shards, atomic_folder
from x2vlm.gallery.select_pairs import select_pairs
from x2vlm.gallery.stored_gallery import StoredGallery
from x2vlm.models.eval_mode import eval_mode
from x2vlm.models.join_outputs import join_contexts, to_cpu
from x2vlm.models.outputs import Context, TextStates

JOB_CONTEXTS, JOB_PAIRS = 64, 4096  # at most, except for a context that has more pairs: the bound of memory
TextReader = Callable[[Tensor], TextStates]
ContextReader = Callable[[Sequence[Tensor]], Iterator[Context]]


def score_pairs_resumable(
    model: Any,
    read_contexts: ContextReader,
    read_texts: TextReader,
    contexts: Tensor,
    texts: Tensor,
    folder: Path,
    chunk: int = 256,
) -> Tensor:
    """Matching logits of pairs; all processes together, each its share of the jobs.

    Args:
        model: The model, with objective ``itm``.
        read_contexts: From the context indices of jobs to their encoded contexts, one job after the other:
            :func:`read_stored_contexts`, or :func:`reencode_contexts`.
        read_texts: From text indices to encoded texts: ``StoredGallery.read_texts``, or :func:`reencode_texts`.
        contexts: ``[P]``, ascending, the context of each pair.
        texts: ``[P]``, the text of each pair.
        folder: Stored scores of the same pairs are read from here; those of other pairs stay beside them.
        chunk: Pairs at a time.

    Returns:
        ``[P]``, the same in every process.
    """
    folder = folder / _digest(contexts, texts)
    jobs = split_jobs(contexts)
    assigned = assign_missing_shards(folder, len(jobs))
    job_contexts = [torch.unique(contexts[jobs[number]]) for number in assigned]
    total = sum(jobs[number].stop - jobs[number].start for number in assigned)
    with eval_mode(model), Progress("re-ranking", total, "pairs") as progress:
        for number, unique, encoded in zip(assigned, job_contexts, read_contexts(job_contexts), strict=True):
            context_index = torch.searchsorted(unique, contexts[jobs[number]])
            used_texts, text_index = torch.unique(texts[jobs[number]], return_inverse=True)
            logits = positive_logits(model, encoded, context_index, read_texts(used_texts), text_index, chunk)
            with atomic_folder(folder / SHARD_NAME.format(number)) as temporary:
                np.save(temporary / "scores.npy", logits.numpy(), allow_pickle=False)
            progress.add(len(context_index))
    all_gather_objects(None)  # a barrier: no process reads before all have written
    scores = [np.load(folder / SHARD_NAME.format(n) / "scores.npy", allow_pickle=False) for n in range(len(jobs))]
    return torch.from_numpy(np.concatenate([np.zeros(0, np.float32), *scores]))


def split_jobs(contexts: Tensor) -> list[slice]:
    """Split pairs into jobs; the pairs of a context are in one job.

    Args:
        contexts: ``[P]``, ascending, the context of each pair.

    Returns:
        The slice of the pairs of each job.
    """
    counts = torch.unique_consecutive(contexts, return_counts=True)[1].tolist()
    jobs, start, pairs, images = [], 0, 0, 0
    for count in counts:
        if images and (images == JOB_CONTEXTS or pairs + count > JOB_PAIRS):
            jobs.append(slice(start, start + pairs))
            start, pairs, images = start + pairs, 0, 0
        pairs, images = pairs + count, images + 1
    return [*jobs, slice(start, start + pairs)] if images else []


def read_stored_contexts(gallery: StoredGallery, jobs: Sequence[Tensor]) -> Iterator[Context]:
    """The contexts of each job, read from the gallery."""
    return map(gallery.read_contexts, jobs)


def reencode_contexts(
    model: Any, data: GalleryData, gallery: StoredGallery, jobs: Sequence[Tensor]
) -> Iterator[Context]:
    """The contexts of each job, encoded from their records; the workers of ``data`` read records ahead.

    Raises:
        ConfigError: If a record of the gallery cannot be read any more.
    """
    job_records = [torch.unique(gallery.context_records[job]) for job in jobs]
    indices = [index for records in job_records for index in _pad_to_batches(records.tolist(), data.batch_size)]
    batches = data.batches(indices)
    for job, records in zip(jobs, job_records, strict=True):
        keys_of_job = zip(gallery.context_records[job].tolist(), gallery.context_pairs[job].tolist(), strict=True)
        wanted = {key: position for position, key in enumerate(keys_of_job)}
        contexts, order = [], []
        for _ in range(0, len(records), data.batch_size):
            batch = next(batches)
            keys = list(zip(*(column.tolist() for column in pair_keys(batch)), strict=True)) if len(batch) else []
            pairs = [pair for pair, key in enumerate(keys) if key in wanted]
            if pairs:
                selected = select_pairs(batch, torch.tensor(pairs)).to(model.device)
                contexts.append(to_cpu(model.encode_context(selected)))
                order += [wanted.pop(keys[pair]) for pair in pairs]
        if wanted:
            raise ConfigError(
                f"{data.name}: {len(wanted)} contexts of the gallery are not in the data any more; the first is of "
                f"record {next(iter(wanted))[0]}. Encode the gallery again, into another folder."
            )
        yield join_contexts(contexts).select(torch.tensor(order).argsort())


def reencode_texts(
    model: Any, read_text_ids: Callable[[Tensor], RaggedTokens], chunk: int, index: Tensor
) -> TextStates:
    """The texts at ``index``, encoded from their token ids."""
    return encode_texts(model, read_text_ids(index), chunk)


def gallery_scorer(model: Any, data: GalleryData, gallery: StoredGallery, folder: Path, chunk: int) -> Callable:
    """A function ``(contexts [P] ascending, texts [P]) -> [P]`` of matching logits, whether tokens are stored or not.

    Args:
        model: The model, with objective ``itm``.
        data: The data set of the gallery.
        gallery: The gallery.
        folder: For the scores.
        chunk: Pairs, and texts to encode, at a time.
    """
    read_contexts = (
        partial(read_stored_contexts, gallery)
        if gallery.has_context_tokens
        else partial(reencode_contexts, model, data, gallery)
    )
    read_texts = (
        gallery.read_texts if gallery.has_text_tokens else partial(reencode_texts, model, gallery.read_text_ids, chunk)
    )
    return partial(score_pairs_resumable, model, read_contexts, read_texts, folder=folder, chunk=chunk)


def _pad_to_batches(indices: list[int], batch_size: int) -> list[int]:
    """Repeat the last index, so that the next job begins with a new batch."""
    return indices + indices[-1:] * (-len(indices) % batch_size)


def _digest(contexts: Tensor, texts: Tensor) -> str:
    pairs = hashlib.sha256(contexts.numpy().tobytes())
    pairs.update(texts.numpy().tobytes())
    return pairs.hexdigest()[:16]
