import pytest

from x2vlm.benchmark.comparison import compare, comparison_table
from x2vlm.benchmark.comparison.compare import shares
from x2vlm.benchmark.workloads.workload_cases import ALL, WORKLOADS, Case


def test_parts_are_shares_of_what_each_adds():
    assert shares({"vision": 2.0, "text": 3.0, "itm": 5.0}) == {"vision": 0.4, "text": 0.2, "itm": 0.4}


def test_the_whole_table_has_every_workload_and_two_more_training_steps():
    cases = [Case("", "tiny").named(name) for name in ALL]
    assert {case.workload for case in cases} == set(WORKLOADS)
    assert [(case.pairs, case.precision) for case in cases if case.workload == "train-step"] == [
        (8, "fp32"),
        (16, "fp32"),
        (8, "bf16"),
    ]


def test_files_are_read_on_the_cpu_whatever_the_device():
    assert Case("data", "tiny", device="cuda").measured_on == "cpu"
    assert Case("end-to-end", "tiny", device="cuda").measured_on == "cuda"


def test_a_row_of_training_has_what_steps_of_varied_shapes_take_on_both_sides(monkeypatch):
    monkeypatch.setattr(compare, "workload_peak_memory", lambda *_: 2**30)  # two processes that a slow test starts
    (found,) = compare.rows_of(Case("training", "tiny", pairs=4, batches=3), repeats=1)
    for side in ("library", "reference"):
        assert found[side].keys() >= {"first", "median", "greatest", "repeated", "varied_by_repeated", "flops"}
        assert found[side]["varied_by_repeated"] == pytest.approx(found[side]["median"] / found[side]["repeated"])
    assert found["library"]["operators"] > 1000
    assert found["library"]["waits"] > 0
    assert found["library"]["product_shapes"] > found["library"]["attention_shapes"] > 0
    line = comparison_table.format_row(found, {"side": 8, "fp32": 1e9})
    assert "varied / repeated shapes" in line
    assert "distinct shapes" in line


def test_figures_of_a_gpu_stand_under_the_row(monkeypatch):
    monkeypatch.setattr(compare, "workload_peak_memory", lambda *_: 2**30)
    (found, *_) = compare.rows_of(Case("encode", "tiny"), repeats=1)
    found["library"]["gpu"] = {"kernels": 12, "waits": 3, "items": 2, "nonzeros": 1, "busy": 0.5}
    assert "12 kernels, 3 waits (2 item, 1 nonzero), GPU busy 50%" in comparison_table.format_row(
        found, {"side": 8, "fp32": 1e9}
    )


@pytest.mark.slow
def test_a_compiled_step_has_the_loss_of_the_reference_path():
    import torch

    from x2vlm.benchmark.workloads.model_sizes import SIZES
    from x2vlm.benchmark.workloads.training_workloads import train_step
    from x2vlm.benchmark.workloads.workload import Scale

    (workload,) = train_step(Scale(SIZES["tiny"], pairs=4, dropout=0.0, compiled=True))
    assert workload.name.endswith("compiled")
    library, reference = workload.parts["text"]  # the contrastive loss alone, no negatives
    torch.testing.assert_close(library(), reference(), atol=1e-5, rtol=1e-5)
