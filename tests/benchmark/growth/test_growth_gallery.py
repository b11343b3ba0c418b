import pytest
import torch

from x2vlm.benchmark.growth import growth_gallery
from x2vlm.benchmark.growth.growth_gallery import (
    format_rows,
    gallery,
    index_slopes,
    open_gallery,
    synthetic,
    write_gallery,
)
from x2vlm.gallery.nearest_neighbours import ExactIndex


def test_the_gallery_is_made_of_files_and_the_queries_are_others(tmp_path, monkeypatch):
    monkeypatch.setattr(growth_gallery, "_SHARD", 30)
    write_gallery(tmp_path, 70)
    rows, queries = open_gallery(tmp_path)
    assert len(rows) == 70
    assert len(rows.shards) == 3
    assert queries.norm(dim=1).sub(1).abs().max() < 1e-5
    index = ExactIndex()
    index.fill(rows)
    assert index.search(queries, 1)[0].max() < 0.999


def test_what_is_near_a_centre_is_nearer_than_the_rest():
    feats = synthetic(300, seed=5)
    cosines = feats @ feats.T - 2 * torch.eye(300)
    assert cosines.max() > 0.4
    alike = synthetic(300, seed=5, spread=1.0)
    assert (alike @ alike.T - 2 * torch.eye(300)).max() < 0.4


def test_a_slope_is_the_power_of_the_size():
    powers = {"a": 1.0, "b": 0.5}
    rows = [{"size": n, "index": name, "seconds": 3 * n**p} for n in (10, 100, 1000) for name, p in powers.items()]
    assert index_slopes(rows) == pytest.approx(powers)


def test_one_size_has_no_slope():
    with pytest.raises(ValueError, match="two points or more; given 1"):
        index_slopes([{"size": 10, "index": "a", "seconds": 1.0}])


@pytest.mark.slow
def test_every_index_is_measured_in_a_process_of_its_own_and_listed_in_a_table():
    rows = gallery([2000], options={"FaissIVF": {"lists": 4, "probes": 4}}, threads=1)
    assert [(row["size"], row["index"]) for row in rows] == [
        (2000, name) for name in ("ExactIndex", "FaissFlat", "FaissIVF")
    ]
    assert all(row["recall"] > 0.99 for row in rows)  # all lists are looked into
    assert all(row["seconds"] > 0 and row["peak_memory"] > 100e6 for row in rows)
    larger = [{**row, "size": 20_000, "seconds": 10 * row["seconds"]} for row in rows]
    assert format_rows([*rows, *larger]).count("FaissIVF") == 3  # two sizes and the slope
