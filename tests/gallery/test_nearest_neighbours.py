"""Exact indexes return the nearest features, the approximate one most of them, in one process and in two."""

import sys

import numpy as np
import pytest
import torch

from tests.two_processes import in_two_processes
from x2vlm.building import ConfigError, build
from x2vlm.gallery.feature_store import FeatureShard, FeatureStore
from x2vlm.gallery.nearest_neighbours import NO_CANDIDATE, ExactIndex, search_distributed, top_candidates
from x2vlm.registry import INDEXES

EXACT = [dict(type="ExactIndex", chunk=7, queries=3), dict(type="FaissFlat", chunk=7)]


def unit(count, width=16, seed=0):
    feats = torch.randn(count, width, generator=torch.Generator().manual_seed(seed))
    return torch.nn.functional.normalize(feats, dim=1)


def on_disk(folder, feats, size=10):
    """The same features in files of ``size`` rows."""
    shards = []
    for first in range(0, len(feats), size):
        np.save(folder / f"{first}.npy", feats[first : first + size].numpy())
        shards.append(FeatureShard(folder / f"{first}.npy", torch.arange(first, min(len(feats), first + size))))
    return FeatureStore(shards, feats.shape[1])


def brute_force(gallery, queries, k):
    return (queries @ gallery.T).topk(k, dim=1)


@pytest.mark.parametrize("size", [1, 4, 10, 33, 100])
def test_features_in_files_are_read_in_chunks_of_any_size(tmp_path, size):
    feats = unit(43)
    chunks = list(on_disk(tmp_path, feats).chunks(size))
    assert all(len(some) <= size for _, some in chunks)
    assert torch.equal(torch.cat([indices for indices, _ in chunks]), torch.arange(43))
    assert torch.equal(torch.cat([some for _, some in chunks]), feats)


def test_rows_that_are_left_out_have_no_index(tmp_path):
    feats = unit(6)
    np.save(tmp_path / "some.npy", feats.numpy())
    rows = FeatureStore(
        [FeatureShard(tmp_path / "some.npy", torch.tensor([3, 4, 5]), source_rows=torch.tensor([0, 2, 5]))], 16
    )
    ((indices, some),) = rows.chunks(10)
    assert indices.tolist() == [3, 4, 5]
    assert torch.equal(some, feats[[0, 2, 5]])


@pytest.mark.parametrize("cfg", EXACT, ids=lambda cfg: cfg["type"])
@pytest.mark.parametrize("k", [1, 5, 43])
def test_exact_indexes_over_files_equal_brute_force(tmp_path, cfg, k):
    gallery, queries = unit(43), unit(11, seed=1)
    scores, indices = search_distributed(
        build(INDEXES, cfg), on_disk(tmp_path, gallery), FeatureStore.from_tensor(queries), k
    )
    expected = brute_force(gallery, queries, k)
    torch.testing.assert_close(scores, expected.values, atol=1e-5, rtol=0)
    assert torch.equal(indices, expected.indices)


@pytest.mark.parametrize("cfg", [*EXACT, dict(type="FaissIVF", lists=1)], ids=lambda cfg: cfg["type"])
def test_two_processes_with_half_of_the_gallery_each_return_the_same(tmp_path, cfg):
    gallery, queries = unit(43), unit(11, seed=1)
    rows = on_disk(tmp_path, gallery)

    def task(rank):
        scores, indices = search_distributed(build(INDEXES, cfg), rows, FeatureStore.from_tensor(queries), 5)
        return scores.numpy(), indices.numpy(), sum(len(some) for _, some in rows.partition(rank, 2).chunks(9))

    results = in_two_processes(task, tmp_path)
    expected = brute_force(gallery, queries, 5)
    assert [results[rank][2] for rank in range(2)] == [23, 20]
    for rank in range(2):
        assert np.array_equal(results[rank][1], expected.indices.numpy())
        np.testing.assert_allclose(results[rank][0], expected.values.numpy(), atol=1e-5)


def test_a_process_without_features_searches_with_the_others(tmp_path):
    gallery, queries = unit(6), unit(2, seed=1)
    rows = on_disk(tmp_path, gallery)  # one file for two processes
    results = in_two_processes(
        lambda rank: search_distributed(ExactIndex(), rows, FeatureStore.from_tensor(queries), 3)[1].numpy(), tmp_path
    )
    assert np.array_equal(results[0], brute_force(gallery, queries, 3).indices.numpy())
    assert np.array_equal(results[0], results[1])


def test_of_equal_scores_the_larger_index_comes_first():
    scores, indices = top_candidates(torch.tensor([[0.5, 0.7, 0.5, 0.5]]), torch.tensor([[4, 0, 9, 6]]), 3)
    assert indices.tolist() == [[0, 9, 6]]
    assert scores.tolist() == [pytest.approx([0.7, 0.5, 0.5])]


def test_the_approximate_index_has_a_recall_of_nine_in_ten_with_a_fraction_of_the_lists():
    centres, generator = unit(50, width=32, seed=2), torch.Generator().manual_seed(3)

    def near(count):
        centre = centres[torch.randint(50, (count,), generator=generator)]
        return torch.nn.functional.normalize(centre + 0.1 * torch.randn(count, 32, generator=generator), dim=1)

    gallery, queries = near(4000), near(100)
    index = build(INDEXES, dict(type="FaissIVF", lists=64, probes=8))
    approximate = search_distributed(index, FeatureStore.from_tensor(gallery), FeatureStore.from_tensor(queries), 10)[1]
    exact = brute_force(gallery, queries, 10).indices
    recall = (approximate[:, :, None] == exact[:, None]).any(dim=2).double().mean()
    assert recall > 0.9
    index.index.nprobe = 1
    fewer = index.search(queries, 10)[1]
    assert (fewer[:, :, None] == exact[:, None]).any(dim=2).double().mean() < recall  # probes do something


def test_lists_with_too_few_features_leave_candidates_empty():
    index = build(INDEXES, dict(type="FaissIVF", lists=20, probes=1))
    scores, indices = search_distributed(
        index, FeatureStore.from_tensor(unit(40)), FeatureStore.from_tensor(unit(3, seed=1)), 30
    )
    assert (indices == NO_CANDIDATE).any()
    assert torch.equal(indices == NO_CANDIDATE, scores.isneginf())
    assert (indices[:, 0] != NO_CANDIDATE).all()


@pytest.mark.parametrize("cfg", EXACT, ids=lambda cfg: cfg["type"])
def test_features_that_are_not_numbers_are_an_error(cfg):
    broken = unit(5)
    broken[2, 0] = torch.nan
    with pytest.raises(ValueError, match="NaN"):
        search_distributed(build(INDEXES, cfg), FeatureStore.from_tensor(unit(5)), FeatureStore.from_tensor(broken), 2)


def test_a_missing_faiss_is_an_error_with_its_package_and_the_alternative(monkeypatch):
    monkeypatch.setitem(sys.modules, "faiss", None)
    with pytest.raises(ConfigError, match=r"metric\.index.*pip install faiss-cpu.*ExactIndex"):
        build(INDEXES, dict(type="FaissFlat"), "evaluations.image.metric.index")


@pytest.mark.parametrize(
    "cfg", [dict(type="ExactIndex", chunk=0), dict(type="FaissFlat", chunk=0), dict(type="FaissIVF", probes=0)]
)
def test_counts_below_one_are_refused(cfg):
    with pytest.raises(ConfigError, match=r"counts? from 1"):
        build(INDEXES, cfg)
