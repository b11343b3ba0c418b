"""Updates that are checked one step later: weights, counts, names and dumps as with the check before the update."""

from pathlib import Path

import pytest
import torch
from mmengine.hooks import Hook
from torch.utils._python_dispatch import TorchDispatchMode

from tests.engine.failures.test_nan_policy import log_of
from tests.engine.tiny_parts import TinyModel, TinySignals
from x2vlm.commands.soak import differences
from x2vlm.engine import build_runner, replay
from x2vlm.engine.failures.nan_policy import NotFiniteError
from x2vlm.engine.train_step import TrainStep
from x2vlm.registry import MODELS

OPTIMIZERS = dict(
    published=dict(type="PublishedAdamW", lr=0.01),
    fused=dict(type="AdamW", lr=0.01, fused=True),
)


@MODELS.register_module(force=True)
class Poisoned(TinyModel):
    """Some words make a bad ``loss``, a bad ``gradient`` of a good loss, or a bad ``constant`` with good gradients."""

    def __init__(self, words=(), kind="loss", **options) -> None:
        super().__init__(**options)
        self.words, self.kind = torch.tensor(list(words), dtype=torch.long), kind

    def forward(self, batch, mode="loss", objectives=None):
        losses = super().forward(batch, mode, objectives)
        if torch.isin(batch.text_ids[:, 1], self.words).any() and len(batch) == 2:  # the images
            losses["loss_a"] = self.poisoned(losses["loss_a"])
        return losses

    def poisoned(self, loss):
        if self.kind == "gradient":
            return loss + (self.vision_proj.bias.sum() * 0).sqrt()
        return loss + torch.inf if self.kind == "constant" else loss * torch.nan


@pytest.fixture
def deferred(monkeypatch):
    """``deferred(True)``: from now on runs check updates one step later, as on a GPU."""
    return lambda on: monkeypatch.setattr("x2vlm.engine.train_step.defers_check", lambda optimizer, device: on)


def poisoned(config, words, kind="loss", action="skip", optimizer="published", max_iters=8, **changes) -> dict:
    cfg = config(max_iters, **changes)
    cfg["model"] = dict(type="Poisoned", words=words, kind=kind)
    cfg["optim_wrapper"]["optimizer"] = dict(OPTIMIZERS[optimizer])
    cfg["train_cfg"]["bad_numbers"] = dict(action=action)
    cfg["streams"]["image"]["shuffle"] = False  # words 0 and 1, 2 and 3, ...; after five batches again
    cfg["custom_hooks"] = [dict(type="EMAHook", ema_type="ExponentialMovingAverage", momentum=0.1)]
    return cfg


def finished(cfg: dict) -> tuple[dict, object]:
    runner = build_runner(cfg)
    runner.train()
    return torch.load(Path(cfg["work_dir"]) / f"iter_{runner.max_iters}.pth"), runner


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize(
    ("kind", "words", "options"),
    [
        ("loss", (2, 9), {}),  # iterations 2, 5, 7
        ("gradient", (2, 4), {}),  # 2 and 3, 7 and 8
        ("gradient", (2, 8), dict(accumulative_counts=2)),
        ("loss", (6, 8), dict(accumulative_counts=3)),
        ("loss", (2, 9), dict(precision="fp16")),
        ("constant", (2, 4, 9), dict(precision="fp16")),
    ],
)
def test_a_run_that_skips_has_the_same_weights_and_counts_to_the_bit(
    config, deferred, tmp_path, optimizer, kind, words, options
):
    ends = []
    for late in (False, True):
        deferred(late)
        cfg = poisoned(config, words, kind, optimizer=optimizer, work_dir=tmp_path / str(late))
        cfg["optim_wrapper"] |= options
        content, runner = finished(cfg)
        assert runner.train_loop.step.defers_check == late
        ends.append(content)
    early, late = ends
    assert early["x2vlm_loop"]["bad_numbers"]["skipped"] >= 2
    for key in ("state_dict", "ema_state_dict", "optimizer", "param_schedulers", "x2vlm_loop"):
        assert not list(differences(early[key], late[key])), key


def test_the_same_holds_where_the_first_update_and_the_last_are_bad(config, deferred, tmp_path):
    weights = []
    for late in (False, True):
        deferred(late)
        content, _ = finished(poisoned(config, (0, 2), max_iters=7, work_dir=tmp_path / str(late)))
        weights.append(content)
    assert weights[1]["x2vlm_loop"]["bad_numbers"] == {"in_row": 2, "skipped": 4, "dumped": 3}
    for key in ("state_dict", "x2vlm_loop"):
        assert not list(differences(weights[0][key], weights[1][key]))


def test_several_updates_a_step_are_checked_one_by_one(config, deferred, tmp_path):
    ends = []
    for late in (False, True):
        deferred(late)
        cfg = poisoned(config, (2, 4), "gradient", work_dir=tmp_path / str(late))
        cfg["train_cfg"]["plan"] = dict(updates=(("text",), ("image",)))
        ends.append(finished(cfg)[0])
    assert ends[1]["x2vlm_loop"]["bad_numbers"]["skipped"] == 4
    for key in ("state_dict", "optimizer", "x2vlm_loop"):
        assert not list(differences(ends[0][key], ends[1][key]))


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize(("kind", "message"), [("loss", "image.loss_a is nan"), ("gradient", "vision_proj.bias")])
def test_a_run_that_stops_names_the_bad_iteration_and_dumps_its_very_step(
    config, deferred, tmp_path, optimizer, kind, message
):
    deferred(True)
    cfg = poisoned(config, (4,), kind, action="stop", optimizer=optimizer)
    runner = build_runner(cfg)
    with pytest.raises(NotFiniteError) as caught:
        runner.train()
    assert "iteration 3: " in str(caught.value)
    assert message in str(caught.value)
    assert "Records: tiny.jsonl:4, tiny.jsonl:5" in str(caught.value)
    assert all(parameter.isfinite().all() for parameter in runner.model.parameters())
    path = tmp_path / "work" / "bad_numbers" / "iter_3_rank_0.pth"
    dump = torch.load(path)
    again = replay(path, cfg)
    assert {key: again[key] for key in dump["scalars"]} == pytest.approx(dump["scalars"], rel=0, abs=0, nan_ok=True)
    assert [dump["iteration"], *dump["batches"]["image"]["where"]] == [2, "tiny.jsonl:4", "tiny.jsonl:5"]
    assert not again["grad_norm"] < torch.inf


def test_the_weights_of_a_dump_are_those_before_the_bad_update(config, deferred, tmp_path):
    dumps = []
    for late in (False, True):
        deferred(late)
        cfg = poisoned(config, (4,), action="stop", work_dir=tmp_path / str(late))
        with pytest.raises(NotFiniteError, match="iteration 3: "):
            build_runner(cfg).train()
        dumps.append(torch.load(tmp_path / str(late) / "bad_numbers" / "iter_3_rank_0.pth"))
    assert not list(differences(dumps[0]["state_dict"], dumps[1]["state_dict"]))
    assert not list(differences(dumps[0]["random"], dumps[1]["random"]))


@pytest.mark.parametrize("last", [2, 3])
def test_no_checkpoint_holds_a_step_that_is_not_known_to_be_good(config, deferred, tmp_path, last):
    deferred(True)
    cfg = poisoned(config, (4,), action="stop", max_iters=last)
    cfg["default_hooks"]["checkpoint"] = dict(type="CheckpointHook", interval=1)
    runner = build_runner(cfg)
    if last == 3:
        with pytest.raises(NotFiniteError, match=r"iteration 3: (.|\n)*The run stops"):
            runner.train()
    else:
        runner.train()
    assert sorted(path.name for path in (tmp_path / "work").glob("*.pth")) == ["iter_1.pth", "iter_2.pth"]


def test_without_checkpoints_the_last_step_is_checked_before_the_run_ends(config, deferred):
    deferred(True)
    cfg = poisoned(config, (4,), action="stop", max_iters=3, evaluations={})
    cfg["default_hooks"]["checkpoint"] = None
    with pytest.raises(NotFiniteError, match="iteration 3: "):
        build_runner(cfg).train()


def test_an_evaluation_has_only_weights_of_steps_known_to_be_good(config, deferred, tmp_path):
    deferred(True)
    cfg = poisoned(config, (4,), action="stop", max_iters=9)
    cfg["train_cfg"]["val_interval"] = 3
    with pytest.raises(NotFiniteError, match="iteration 3: "):
        build_runner(cfg).train()
    assert not (tmp_path / "work" / "metrics.jsonl").exists()


def test_a_signal_after_a_bad_step_saves_its_count(config, deferred, tmp_path):
    deferred(True)
    runner = build_runner(poisoned(config, (4,)))
    runner.register_hook(TinySignals(3))
    runner.train()
    saved = torch.load(tmp_path / "work" / "iter_3.pth")
    assert saved["x2vlm_loop"]["bad_numbers"] == {"in_row": 1, "skipped": 1, "dumped": 1}
    steps = {int(state["step"]) for state in saved["optimizer"]["state"].values()}
    assert steps == {2}


def test_the_log_says_which_and_its_means_leave_the_bad_step_out(config, deferred):
    deferred(True)
    _, runner = finished(poisoned(config, (2,), max_iters=2))
    assert "iteration 2: the loss is not a finite number.\n  image.loss_a is nan. Records: tiny.jsonl:2" in log_of(
        runner
    )
    loss = runner.message_hub.get_scalar("train/image.loss_a").current()
    assert 0 < loss < torch.inf


class Reads(TorchDispatchMode):
    """Counts what a GPU would have to be waited for."""

    waiting = ("_local_scalar_dense", "nonzero", "equal", "masked_select", "_unique2")

    def __init__(self) -> None:
        super().__init__()
        self.reads = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if func.overloadpacket.__name__ in self.waiting:
            self.reads.append(func.overloadpacket.__name__)
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize(("late", "reads"), [(True, 0), (False, 6)])
def test_no_step_reads_a_number_back(config, deferred, monkeypatch, optimizer, precision, late, reads):
    deferred(late)
    cfg = config(6)
    cfg["optim_wrapper"] |= dict(optimizer=dict(OPTIMIZERS[optimizer]), precision=precision)
    runner = build_runner(cfg)
    mode, step = Reads(), TrainStep.__call__

    def counted(*args):
        with mode:
            return step(*args)

    monkeypatch.setattr(TrainStep, "__call__", counted)
    runner.train()
    own = 6 if not late and precision == "fp16" and optimizer == "published" else 0  # whether a gradient overflowed
    assert len(mode.reads) == reads + own


class ReadsEarly(Hook):
    priority = "VERY_HIGH"

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        runner.train_loop.read_deferred_check()


def test_reading_a_deferred_check_early_changes_nothing(config, deferred, tmp_path):
    deferred(True)
    ends = []
    for name, hooks in (("late", []), ("early", [ReadsEarly()])):
        runner = build_runner(poisoned(config, (2, 9), "gradient", work_dir=tmp_path / name))
        for hook in hooks:
            runner.register_hook(hook)
        runner.train()
        ends.append(torch.load(tmp_path / name / "iter_8.pth"))
    assert not list(differences(ends[0]["state_dict"], ends[1]["state_dict"]))


@pytest.mark.parametrize("late", [True, False])
def test_going_back_to_the_last_step_keeps_what_is_known_of_it(config, deferred, late):
    """Checked later, a count belongs to the step before; checked at once, to the step that is taken back."""
    deferred(late)
    _, runner = finished(poisoned(config, (), max_iters=2))
    loop = runner.train_loop
    state = loop.state_dict()
    loop.streams["image"].draws += 2
    loop.bad_numbers.skipped += 1
    loop._rewind(state)
    assert (loop.streams["image"].draws, loop.bad_numbers.skipped) == (4, int(late))
