import csv
import math

import pytest

from x2vlm.commands.shared.ablation_table import metric_names, plot, summarise, to_csv, to_markdown, varying

RESULT = {
    "base": {0: {"r1": 60.0, "iou": 0.8}, 1: {"r1": 70.0, "iou": 0.9}},
    "no_bbox": {0: {"r1": 59.0, "iou": 0.1}, 1: {"r1": 67.0, "iou": 0.3}},
    "broken": {},
}


def cell(config, metric, result=None):
    return next(c for c in summarise(result or RESULT, "base") if (c.config, c.metric) == (config, metric))


def test_a_cell_holds_mean_and_sample_deviation():
    assert cell("base", "r1").mean == 65
    assert cell("base", "r1").deviation == pytest.approx(math.sqrt(50))


def test_the_difference_of_the_base_to_itself_is_zero():
    assert (cell("base", "iou").difference, cell("base", "iou").difference_deviation) == (0, 0)


def test_differences_are_taken_seed_by_seed():
    assert cell("no_bbox", "r1").difference == pytest.approx(-2)
    assert cell("no_bbox", "r1").difference_deviation == pytest.approx(math.sqrt(2))


def test_a_seed_missing_in_the_base_counts_for_the_mean_but_not_for_the_difference():
    result = {"base": {0: {"r1": 60.0}}, "other": {0: {"r1": 61.0}, 1: {"r1": 99.0}}}
    assert cell("other", "r1", result).mean == 80
    assert cell("other", "r1", result).difference == 1


def test_a_config_without_runs_has_no_values_and_keeps_its_column():
    assert cell("broken", "r1").seeds == 0
    assert math.isnan(cell("broken", "r1").mean)
    assert "| metric | base | no_bbox | broken |" in to_markdown(summarise(RESULT, "base"), "base")


def test_one_seed_has_a_mean_and_no_deviation():
    markdown = to_markdown(summarise({"base": {0: {"r1": 60.0}}}, "base"), "base")
    assert "| r1 | 60 |" in markdown


def test_a_metric_of_some_runs_only_has_a_row():
    assert metric_names({"a": {0: {"x": 1.0}}, "b": {0: {"y": 1.0, "x": 2.0}}}) == ["x", "y"]


def test_a_row_shows_the_base_and_the_difference_of_the_others_to_it():
    markdown = to_markdown(summarise(RESULT, "base"), "base")
    assert "| r1 | 65 ± 7.1 | 63 ± 5.7 (-2) | - |" in markdown
    assert "Finished runs: base 2, no_bbox 2, broken 0." in markdown


def test_metrics_that_are_equal_in_all_runs_do_not_vary():
    result = {"a": {0: {"r1": 1.0, "chance": 0.5}}, "b": {0: {"r1": 2.0, "chance": 0.5, "extra": 1.0}}}
    assert varying(result) == ["r1", "extra"]


def test_a_single_run_shows_everything():
    assert varying({"a": {0: {"r1": 1.0, "chance": 0.5}}}) == ["r1", "chance"]


def test_failed_runs_are_named_below_the_table():
    markdown = to_markdown(summarise(RESULT, "base"), "base", {"broken": {1: "RuntimeError: out of luck"}})
    assert "- **failed**: broken, seed 1: RuntimeError: out of luck" in markdown


def test_the_csv_reads_back_to_the_same_numbers():
    rows = list(csv.DictReader(to_csv(summarise(RESULT, "base")).splitlines()))
    ours = next(row for row in rows if (row["config"], row["metric"]) == ("no_bbox", "iou"))
    assert float(ours["difference"]) == pytest.approx(cell("no_bbox", "iou").difference)
    assert next(row for row in rows if row["config"] == "broken")["mean"] == ""


def test_a_base_that_was_not_run_is_refused():
    with pytest.raises(ValueError, match="the base 'bass' is not among the configs: base, no_bbox, broken"):
        summarise(RESULT, "bass")


@pytest.mark.parametrize(("suffix", "start"), [(".png", b"\x89PNG"), (".svg", b"<?xml")])
def test_the_plot_is_an_image_even_where_a_config_has_no_run(tmp_path, suffix, start):
    pytest.importorskip("matplotlib", reason="needs matplotlib")
    plot(summarise(RESULT, "base"), RESULT, "base", tmp_path / f"plot{suffix}")
    assert (tmp_path / f"plot{suffix}").read_bytes().startswith(start)
