import json

import pytest

from x2vlm.benchmark.timing import comparison
from x2vlm.building import ConfigError
from x2vlm.commands import benchmark
from x2vlm.commands.benchmark import NAMES, main

LEARNING_AXES = ("batch", "regions", "text", "resolution")


def test_every_work_has_a_name_on_the_command_line():
    from x2vlm.benchmark.works.all_works import WORKS

    assert tuple(WORKS) == NAMES


@pytest.mark.slow
def test_the_whole_table_ends_in_an_object_with_a_row_of_every_work(capsys, tmp_path, monkeypatch):
    of_a_process = comparison.memory_of  # of every row it would be two dozen processes
    monkeypatch.setattr(comparison, "memory_of", lambda told: of_a_process(told) if "encode" in told[0] else 2**30)
    picture = tmp_path / "new" / "table.png"
    told = ["--size", "tiny", "--repeats", "1", "--parts", "--json", "--picture", str(picture)]
    assert main(["all", *told]) == 0
    shown = capsys.readouterr().out.splitlines()
    report = json.loads(shown[-1])
    rows = report["rows"]
    assert {one["work"] for one in rows} == set(NAMES)
    assert report["ratio"] == min(one["ratio"] for one in rows) > 0
    assert report["seconds"] == pytest.approx(sum(one["library"]["median"] for one in rows))
    assert report["peak_memory"] > 100e6  # torch alone takes more
    assert min(report["matmul"]["fp32"], report["matmul"]["bf16"]) > 0
    assert all(one["ratio_least"] <= one["ratio"] <= one["ratio_greatest"] for one in rows)
    for one in rows:
        assert any(line.endswith(one["name"]) for line in shown)
        for side in ("library", "plain"):
            parts = one[side].get("parts")
            assert (parts is not None) == one["work"].endswith("step")
            assert parts is None or sum(parts.values()) == pytest.approx(1)
    assert [one["library"]["precision"] for one in rows].count("bf16") == 1
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_one_work_in_bf16_is_told_by_name_beside_the_rates_of_both_precisions(capsys, monkeypatch):
    # The slow test starts the two processes that measure it.
    monkeypatch.setattr("x2vlm.benchmark.timing.comparison.memory_of", lambda case: 2**30)
    assert main(["train-step", "--size", "tiny", "--repeats", "1", "--precision", "bf16", "--json"]) == 0
    *shown, last = capsys.readouterr().out.splitlines()
    (only,) = json.loads(last)["rows"]
    assert only["name"].endswith("bf16")
    assert (only["library"]["precision"], only["plain"]["precision"]) == ("bf16", "bf16")
    assert any("GFLOP/s in fp32 and" in line and "GFLOP/s in bf16" in line for line in shown)


def test_growth_tells_points_and_slopes_and_draws_a_plot_for_each_axis(capsys, tmp_path):
    told = ["--works", ",".join(LEARNING_AXES), "--repeats", "1", "--json", "--picture", str(tmp_path / "new")]
    assert main(["growth", "--size", "tiny", *told]) == 0
    axes = json.loads(capsys.readouterr().out.splitlines()[-1])["axes"]
    assert tuple(axes) == LEARNING_AXES
    for name, axis in axes.items():
        assert (tmp_path / "new" / f"{name}.png").read_bytes().startswith(b"\x89PNG")
        assert all(seconds > 0 for point in axis["points"] for seconds in point["seconds"].values())
        assert axis["slopes"].keys() == axis["points"][0]["seconds"].keys()
    assert axes["resolution"]["slopes"].keys() == {
        "library, step",
        "plain, step",
        "library, encoding",
        "plain, encoding",
    }


@pytest.mark.slow
def test_growth_of_a_search_has_a_slope_for_every_index(capsys):
    assert main(["growth", "--size", "tiny", "--works", "gallery", "--json"]) == 0
    gallery = json.loads(capsys.readouterr().out.splitlines()[-1])["axes"]["gallery"]
    assert gallery["slopes"].keys() == {"ExactIndex", "FaissFlat", "FaissIVF"}
    assert [point["at"] for point in gallery["points"]] == [200, 2000]


@pytest.mark.parametrize(
    ("told", "complaint"),
    [
        (["encode", "--repeats", "0"], "0 is no count from 1"),
        (["data", "--precision", "bf16"], "--precision is for train-step, training, video-step, rerank"),
        (["data", "--device", "cuda"], "end-to-end, all, not for data"),
        (["growth", "--precision", "bf16"], "end-to-end, all, not for growth"),
        (["encode", "--batches", "3"], "--batches is for training, not for encode"),
        (["training", "--batches", "1"], "1 is too few: the first step is not counted"),
        (["train-step", "--works", "encode"], "--works is for all, growth, not for train-step"),
        (["all", "--works", "encode,speed"], "--works: all has no 'speed'. It has: train-step, train-step-16"),
        (["growth", "--works", "speed"], "--works: growth has no 'speed'. It has: batch, regions"),
    ],
)
def test_what_does_not_fit_is_refused_in_a_sentence(told, complaint, capsys):
    with pytest.raises(SystemExit):
        main(told)
    assert complaint in capsys.readouterr().err


def test_a_picture_without_matplotlib_is_refused_before_anything_is_measured(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "matplotlib.figure", None)
    monkeypatch.setattr(benchmark, "measure", None)
    with pytest.raises(ConfigError, match="pip install matplotlib"):
        main(["encode", "--picture", "table.png"])
