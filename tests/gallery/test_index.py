"""Indexes find the nearest: the exact ones all of them, the approximate one most, alone and in two processes."""

import sys

import numpy as np
import pytest
import torch

from tests.gallery.test_processes import in_two_processes
from x2vlm.building import ConfigError, build
from x2vlm.gallery.feature_store import FeatureShard, FeatureStore
from x2vlm.gallery.index import NOWHERE, ExactIndex, best_of, search_together
from x2vlm.registry import INDEXES

EXACT = [dict(type="ExactIndex", chunk=7, queries=3), dict(type="FaissFlat", chunk=7)]


def unit(count, width=16, seed=0):
    feats = torch.randn(count, width, generator=torch.Generator().manual_seed(seed))
    return torch.nn.functional.normalize(feats, dim=1)


def on_disk(folder, feats, size=10):
    """The same features in files of so many rows."""
    pieces = []
    for first in range(0, len(feats), size):
        np.save(folder / f"{first}.npy", feats[first : first + size].numpy())
        pieces.append(FeatureShard(folder / f"{first}.npy", torch.arange(first, min(len(feats), first + size))))
    return FeatureStore(pieces, feats.shape[1])


def plainly(gallery, queries, k):
    return (queries @ gallery.T).topk(k, dim=1)


@pytest.mark.parametrize("size", [1, 4, 10, 33, 100])
def test_rows_in_files_are_read_in_chunks_of_any_size(tmp_path, size):
    feats = unit(43)
    chunks = list(on_disk(tmp_path, feats).chunks(size))
    assert all(len(some) <= size for _, some in chunks)
    assert torch.equal(torch.cat([numbers for numbers, _ in chunks]), torch.arange(43))
    assert torch.equal(torch.cat([some for _, some in chunks]), feats)


def test_rows_that_are_left_out_have_no_number(tmp_path):
    feats = unit(6)
    np.save(tmp_path / "some.npy", feats.numpy())
    rows = FeatureStore(
        [FeatureShard(tmp_path / "some.npy", torch.tensor([3, 4, 5]), keep=torch.tensor([0, 2, 5]))], 16
    )
    ((numbers, some),) = rows.chunks(10)
    assert numbers.tolist() == [3, 4, 5]
    assert torch.equal(some, feats[[0, 2, 5]])


@pytest.mark.parametrize("cfg", EXACT, ids=lambda cfg: cfg["type"])
@pytest.mark.parametrize("k", [1, 5, 43])
def test_exact_indexes_over_files_find_what_the_whole_product_finds(tmp_path, cfg, k):
    gallery, queries = unit(43), unit(11, seed=1)
    scores, numbers = search_together(build(INDEXES, cfg), on_disk(tmp_path, gallery), FeatureStore.of(queries), k)
    expected = plainly(gallery, queries, k)
    torch.testing.assert_close(scores, expected.values, atol=1e-5, rtol=0)
    assert torch.equal(numbers, expected.indices)


@pytest.mark.parametrize("cfg", [*EXACT, dict(type="FaissIVF", lists=1)], ids=lambda cfg: cfg["type"])
def test_two_processes_that_hold_half_of_the_gallery_each_find_the_same(tmp_path, cfg):
    gallery, queries = unit(43), unit(11, seed=1)
    rows = on_disk(tmp_path, gallery)

    def task(rank):
        scores, numbers = search_together(build(INDEXES, cfg), rows, FeatureStore.of(queries), 5)
        return scores.numpy(), numbers.numpy(), sum(len(some) for _, some in rows.share(rank, 2).chunks(9))

    results = in_two_processes(task, tmp_path)
    expected = plainly(gallery, queries, 5)
    assert [results[rank][2] for rank in range(2)] == [23, 20]
    for rank in range(2):
        assert np.array_equal(results[rank][1], expected.indices.numpy())
        np.testing.assert_allclose(results[rank][0], expected.values.numpy(), atol=1e-5)


def test_a_process_without_rows_searches_with_the_others(tmp_path):
    gallery, queries = unit(6), unit(2, seed=1)
    rows = on_disk(tmp_path, gallery)  # one file for two processes
    results = in_two_processes(
        lambda rank: search_together(ExactIndex(), rows, FeatureStore.of(queries), 3)[1].numpy(), tmp_path
    )
    assert np.array_equal(results[0], plainly(gallery, queries, 3).indices.numpy())
    assert np.array_equal(results[0], results[1])


def test_of_equal_scores_the_larger_number_comes_first():
    scores, numbers = best_of(torch.tensor([[0.5, 0.7, 0.5, 0.5]]), torch.tensor([[4, 0, 9, 6]]), 3)
    assert numbers.tolist() == [[0, 9, 6]]
    assert scores.tolist() == [pytest.approx([0.7, 0.5, 0.5])]


def test_the_approximate_index_finds_nine_of_ten_in_a_fraction_of_the_lists():
    centres, generator = unit(50, width=32, seed=2), torch.Generator().manual_seed(3)

    def near(count):
        chosen = centres[torch.randint(50, (count,), generator=generator)]
        return torch.nn.functional.normalize(chosen + 0.1 * torch.randn(count, 32, generator=generator), dim=1)

    gallery, queries = near(4000), near(100)
    index = build(INDEXES, dict(type="FaissIVF", lists=64, probes=8))
    found = search_together(index, FeatureStore.of(gallery), FeatureStore.of(queries), 10)[1]
    right = plainly(gallery, queries, 10).indices
    recall = (found[:, :, None] == right[:, None]).any(dim=2).double().mean()
    assert recall > 0.9
    index.index.nprobe = 1
    fewer = index.search(queries, 10)[1]
    assert (fewer[:, :, None] == right[:, None]).any(dim=2).double().mean() < recall  # probes do something


def test_lists_that_hold_too_few_rows_leave_places_empty():
    index = build(INDEXES, dict(type="FaissIVF", lists=20, probes=1))
    scores, numbers = search_together(index, FeatureStore.of(unit(40)), FeatureStore.of(unit(3, seed=1)), 30)
    assert (numbers == NOWHERE).any()
    assert torch.equal(numbers == NOWHERE, scores.isneginf())
    assert (numbers[:, 0] != NOWHERE).all()


@pytest.mark.parametrize("cfg", EXACT, ids=lambda cfg: cfg["type"])
def test_features_that_are_no_numbers_are_an_error(cfg):
    broken = unit(5)
    broken[2, 0] = torch.nan
    with pytest.raises(ValueError, match="NaN"):
        search_together(build(INDEXES, cfg), FeatureStore.of(unit(5)), FeatureStore.of(broken), 2)


def test_a_missing_faiss_is_told_with_its_package_and_what_does_without(monkeypatch):
    monkeypatch.setitem(sys.modules, "faiss", None)
    with pytest.raises(ConfigError, match=r"metric\.index.*pip install faiss-cpu.*ExactIndex"):
        build(INDEXES, dict(type="FaissFlat"), "evaluations.image.metric.index")


@pytest.mark.parametrize(
    "cfg", [dict(type="ExactIndex", chunk=0), dict(type="FaissFlat", chunk=0), dict(type="FaissIVF", probes=0)]
)
def test_counts_below_one_are_refused(cfg):
    with pytest.raises(ConfigError, match=r"counts? from 1"):
        build(INDEXES, cfg)
