import pytest

from x2vlm.benchmark.all_works import ALL, WORKS, Case
from x2vlm.benchmark.row import shares


def test_parts_are_shares_of_what_each_adds():
    assert shares({"vision": 2.0, "text": 3.0, "itm": 5.0}) == {"vision": 0.4, "text": 0.2, "itm": 0.4}


def test_the_whole_table_has_every_work_and_two_more_training_steps():
    cases = [Case("", "tiny").named(name) for name in ALL]
    assert {case.work for case in cases} == set(WORKS)
    assert [(case.pairs, case.precision) for case in cases if case.work == "train-step"] == [
        (8, "fp32"),
        (16, "fp32"),
        (8, "bf16"),
    ]


@pytest.mark.slow
def test_a_compiled_step_has_the_loss_of_the_plain_path():
    import torch

    from x2vlm.benchmark.sizes import SIZES
    from x2vlm.benchmark.training import train_step
    from x2vlm.benchmark.works import Scale

    (work,) = train_step(Scale(SIZES["tiny"], pairs=4, dropout=0.0, compiled=True))
    assert work.name.endswith("compiled")
    library, plain = work.parts["text"]  # the contrastive loss alone, no negatives
    torch.testing.assert_close(library(), plain(), atol=1e-5, rtol=1e-5)
