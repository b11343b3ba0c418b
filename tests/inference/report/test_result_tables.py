"""Tables and headlines show metrics beside their baselines."""

from x2vlm.inference.report.result_tables import headlines, result_tables

RESULTS = {
    **{f"image/{way}_r{k}": 60.0 + k for way in ("i2t", "t2i") for k in (1, 5, 10)},
    "image/r_mean": 65.3,
    **{f"image/itc_{way}_r{k}": 40.0 + k for way in ("i2t", "t2i") for k in (1, 5, 10)},
    "image/itc_r_mean": 45.3,
    **{f"image/chance_{way}_r{k}": 0.4 * k for way in ("i2t", "t2i") for k in (1, 5, 10)},
    "image/chance_r_mean": 2.1,
    "grounding/accuracy_at_0.5": 81.5,
    "grounding/mean_iou": 70.2,
    "grounding/average_box_accuracy": 17.1,
    "grounding/average_box_mean_iou": 20.2,
    "grounding/accuracy_at_0.5_object": 85.5,
    "grounding/average_box_accuracy_object": 12.5,
}


def test_results_are_beside_chance_and_the_average_box():
    image, grounding = result_tables(RESULTS)
    assert image.columns == ["i2t R@1", "i2t R@5", "i2t R@10", "t2i R@1", "t2i R@5", "t2i R@10", "mean"]
    assert {name: cells[0] for name, _, cells in image.rows} == {
        "cosine, re-ranked by matching": "61.0",
        "cosine only": "41.0",
        "random order": "0.4",
    }
    assert grounding.columns == ["IoU at least 0.5", "IoU at least 0.5 object", "mean IoU"]
    assert [cells for _, _, cells in grounding.rows] == [["81.5", "85.5", "70.2"], ["17.1", "12.5", "20.2"]]


def test_headlines_name_the_baseline():
    assert {line["what"]: (line["value"], line["beside"]) for line in headlines(RESULTS)} == {
        "image: i2t R@1": ("61.0 %", "chance 0.4 %"),
        "image: t2i R@1": ("61.0 %", "chance 0.4 %"),
        "grounding: accuracy": ("81.5 %", "average box 17.1 %"),
    }
