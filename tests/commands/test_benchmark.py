import json
from pathlib import Path

import pytest

from x2vlm.benchmark.comparison import compare
from x2vlm.benchmark.growth import growth_gallery
from x2vlm.building import ConfigError
from x2vlm.commands import benchmark
from x2vlm.commands.benchmark import NAMES, main

LEARNING_AXES = ("batch", "regions", "text", "resolution")


def test_every_workload_has_a_name_on_the_command_line():
    from x2vlm.benchmark.workloads.workload_cases import WORKLOADS

    assert tuple(WORKLOADS) == NAMES


@pytest.mark.slow
def test_the_whole_table_ends_in_an_object_with_a_row_of_every_workload(capsys, tmp_path, monkeypatch):
    in_process = compare.workload_peak_memory  # of every row it would be two dozen processes

    def peak_memory(case, number, side):
        return in_process(case, number, side) if case.workload == "encode" else 2**30

    monkeypatch.setattr(compare, "workload_peak_memory", peak_memory)
    plot = tmp_path / "new" / "table.png"
    argv = ["--size", "tiny", "--repeats", "1", "--parts", "--json", "--picture", str(plot)]
    assert main(["all", *argv]) == 0
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
        for side in ("library", "reference"):
            parts = one[side].get("parts")
            assert (parts is not None) == one["work"].endswith("step")
            assert parts is None or sum(parts.values()) == pytest.approx(1)
    assert [one["library"]["precision"] for one in rows].count("bf16") == 1
    assert plot.read_bytes().startswith(b"\x89PNG")


def test_one_workload_in_bf16_is_listed_by_name_beside_the_rates_of_both_precisions(capsys, monkeypatch):
    # The slow test starts the two processes that measure it.
    monkeypatch.setattr("x2vlm.benchmark.comparison.compare.workload_peak_memory", lambda *_: 2**30)
    assert main(["train-step", "--size", "tiny", "--repeats", "1", "--precision", "bf16", "--json"]) == 0
    *shown, last = capsys.readouterr().out.splitlines()
    (only,) = json.loads(last)["rows"]
    assert only["name"].endswith("bf16")
    assert (only["library"]["precision"], only["reference"]["precision"]) == ("bf16", "bf16")
    assert any("GFLOP/s in fp32 and" in line and "GFLOP/s in bf16" in line for line in shown)


@pytest.mark.parametrize(("size", "is_named", "measured"), [("base", False, 0), ("tiny", False, 1), ("base", True, 1)])
def test_a_large_step_in_bf16_is_left_out_where_the_processor_is_slow_at_it(
    size, is_named, measured, monkeypatch, capsys
):
    monkeypatch.setattr("x2vlm.benchmark.timing.device_precision.has_bf16_products", lambda: False)
    named = ["--works", "train-step,train-step-bf16"] if is_named else []
    cases = benchmark._cases(benchmark._parse(["all", "--size", size, *named]))
    assert [case.precision for case in cases].count("bf16") == measured
    assert ("train-step-bf16 is left out" in capsys.readouterr().out) == (not measured)


def test_growth_reports_points_and_slopes_and_draws_a_plot_for_each_axis(capsys, tmp_path):
    argv = ["--works", ",".join(LEARNING_AXES), "--repeats", "1", "--json", "--picture", str(tmp_path / "new")]
    assert main(["growth", "--size", "tiny", *argv]) == 0
    axes = json.loads(capsys.readouterr().out.splitlines()[-1])["axes"]
    assert tuple(axes) == LEARNING_AXES
    for name, axis in axes.items():
        assert (tmp_path / "new" / f"{name}.png").read_bytes().startswith(b"\x89PNG")
        assert all(seconds > 0 for point in axis["points"] for seconds in point["seconds"].values())
        assert axis["slopes"].keys() == axis["points"][0]["seconds"].keys()
    assert axes["resolution"]["slopes"].keys() == {
        "library, step",
        "reference, step",
        "library, encoding",
        "reference, encoding",
    }


def test_growth_of_a_search_has_a_slope_for_every_index(capsys, monkeypatch):
    def measure(module, arguments):  # in this process; tests/benchmark/growth starts one for every index
        _, folder, cfg, _ = arguments
        return growth_gallery.measure_index(Path(folder), json.loads(cfg))

    monkeypatch.setattr(growth_gallery, "measure_in_process", measure)
    assert main(["growth", "--size", "tiny", "--works", "gallery", "--json"]) == 0
    gallery = json.loads(capsys.readouterr().out.splitlines()[-1])["axes"]["gallery"]
    assert gallery["slopes"].keys() == {"ExactIndex", "FaissFlat", "FaissIVF"}
    assert [point["at"] for point in gallery["points"]] == [200, 2000]


@pytest.mark.parametrize(
    ("argv", "complaint"),
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
def test_what_does_not_fit_is_refused_in_a_sentence(argv, complaint, capsys):
    with pytest.raises(SystemExit):
        main(argv)
    assert complaint in capsys.readouterr().err


def test_a_plot_without_matplotlib_is_refused_before_anything_is_measured(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "matplotlib.figure", None)
    monkeypatch.setattr(benchmark, "measure", None)
    with pytest.raises(ConfigError, match="pip install matplotlib"):
        main(["encode", "--picture", "table.png"])
