"""Matching logits of many pairs over a gallery on disk: in jobs of some images, shared evenly, going on after a kill.

A job holds all pairs of its images, whose keys and values are projected once. The scores of a finished job are a part
on disk, and never computed again.

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
from x2vlm.gallery.matching import match_logits
from x2vlm.gallery.progress import Progress
from x2vlm.gallery.ragged_tokens import RaggedTokens, encode_words
from x2vlm.gallery.resumable import NAME, share_of_missing, whole_folder
from x2vlm.gallery.retrieval_features import only_pairs, to_cpu
from x2vlm.gallery.stored_gallery import StoredGallery, join_contexts
from x2vlm.models.eval_mode import eval_mode
from x2vlm.models.outputs import Context, TextStates

JOB_CONTEXTS, JOB_PAIRS = 64, 4096  # at most, but for a context that has more pairs: the bound of memory
Texts = Callable[[Tensor], TextStates]
Contexts = Callable[[Sequence[Tensor]], Iterator[Context]]


def score_stored(
    model: Any, contexts_of: Contexts, texts_of: Texts, contexts: Tensor, texts: Tensor, folder: Path, chunk: int = 256
) -> Tensor:
    """Matching logits of pairs; all processes together, each its share of the jobs.

    Args:
        model: The model, with objective ``itm``.
        contexts_of: Encoded contexts of some jobs, one job after the other: :func:`stored_contexts`, or
            :func:`encoded_again`.
        texts_of: Encoded texts at some places: ``StoredGallery.text_views``, or :func:`texts_encoded_again`.
        contexts: ``[P]``, sorted, which contexts.
        texts: ``[P]``, which texts.
        folder: Scores of the same pairs that are there are used; those of other pairs stay beside them.
        chunk: Pairs at a time.

    Returns:
        ``[P]``, the same in every process.
    """
    folder = folder / _digest(contexts, texts)
    jobs = cut_jobs(contexts)
    own = share_of_missing(folder, len(jobs))
    different = [torch.unique(contexts[jobs[number]]) for number in own]
    total = sum(jobs[number].stop - jobs[number].start for number in own)
    with eval_mode(model), Progress("re-ranking", total, "pairs") as progress:
        for number, some, encoded in zip(own, different, contexts_of(different), strict=True):
            which = torch.searchsorted(some, contexts[jobs[number]])
            used, text_index = torch.unique(texts[jobs[number]], return_inverse=True)
            logits = match_logits(model, encoded, which, texts_of(used), text_index, chunk)
            with whole_folder(folder / NAME.format(number)) as aside:
                np.save(aside / "scores.npy", logits.numpy(), allow_pickle=False)
            progress.add(len(which))
    all_gather_objects(None)  # nobody reads before all have written
    parts = [np.load(folder / NAME.format(n) / "scores.npy", allow_pickle=False) for n in range(len(jobs))]
    return torch.from_numpy(np.concatenate([np.zeros(0, np.float32), *parts]))


def cut_jobs(contexts: Tensor) -> list[slice]:
    """Which pairs are in which job; those of a context are never apart.

    Args:
        contexts: ``[P]``, sorted.
    """
    counts = torch.unique_consecutive(contexts, return_counts=True)[1].tolist()
    jobs, start, pairs, images = [], 0, 0, 0
    for count in counts:
        if images and (images == JOB_CONTEXTS or pairs + count > JOB_PAIRS):
            jobs.append(slice(start, start + pairs))
            start, pairs, images = start + pairs, 0, 0
        pairs, images = pairs + count, images + 1
    return [*jobs, slice(start, start + pairs)] if images else []


def stored_contexts(gallery: StoredGallery, jobs: Sequence[Tensor]) -> Iterator[Context]:
    """The contexts of each job, read from the gallery."""
    return map(gallery.context_views, jobs)


def encoded_again(model: Any, data: GalleryData, gallery: StoredGallery, jobs: Sequence[Tensor]) -> Iterator[Context]:
    """The contexts of each job, encoded from their records; records are read ahead by the workers of ``data``.

    Raises:
        ConfigError: If a record that could be read cannot be read any more.
    """
    records = [torch.unique(gallery.context_records[job]) for job in jobs]
    numbers = [number for some in records for number in _padded(some.tolist(), data.batch_size)]
    batches = data.batches(numbers)
    for job, some in zip(jobs, records, strict=True):
        wanted = {
            key: place
            for place, key in enumerate(
                zip(gallery.context_records[job].tolist(), gallery.context_pairs[job].tolist(), strict=True)
            )
        }
        found, order = [], []
        for _ in range(0, len(some), data.batch_size):
            batch = next(batches)
            keys = list(zip(*(one.tolist() for one in pair_keys(batch)), strict=True)) if len(batch) else []
            pairs = [pair for pair, key in enumerate(keys) if key in wanted]
            if pairs:
                chosen = only_pairs(batch, torch.tensor(pairs)).to(model.device)
                found.append(to_cpu(model.encode_context(chosen)))
                order += [wanted.pop(keys[pair]) for pair in pairs]
        if wanted:
            raise ConfigError(
                f"{data.name}: {len(wanted)} contexts of the gallery are not in the data any more; the first is of "
                f"record {next(iter(wanted))[0]}. Encode the gallery again, into another folder."
            )
        yield join_contexts(found).select(torch.tensor(order).argsort())


def texts_encoded_again(model: Any, words: Callable[[Tensor], RaggedTokens], chunk: int, index: Tensor) -> TextStates:
    """The texts at ``index``, encoded from their words."""
    return encode_words(model, words(index), chunk)


def gallery_scorer(model: Any, data: GalleryData, gallery: StoredGallery, folder: Path, chunk: int) -> Callable:
    """``(contexts [P] sorted, texts [P]) -> [P]`` for contexts and texts of a gallery, tokens stored or not."""
    contexts_of = (
        partial(stored_contexts, gallery)
        if gallery.has_context_tokens
        else partial(encoded_again, model, data, gallery)
    )
    texts_of = (
        gallery.text_views if gallery.has_text_tokens else partial(texts_encoded_again, model, gallery.words, chunk)
    )
    return partial(score_stored, model, contexts_of, texts_of, folder=folder, chunk=chunk)


def _padded(numbers: list[int], size: int) -> list[int]:
    """Repeat the last number, so that the next job begins with a batch of its own."""
    return numbers + numbers[-1:] * (-len(numbers) % size)


def _digest(contexts: Tensor, texts: Tensor) -> str:
    pairs = hashlib.sha256(contexts.numpy().tobytes())
    pairs.update(texts.numpy().tobytes())
    return pairs.hexdigest()[:16]
