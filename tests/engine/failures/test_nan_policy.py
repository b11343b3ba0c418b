"""NaN and infinity: named, dumped, had again, stopped at or stepped over."""

from itertools import pairwise
from pathlib import Path

import pytest
import torch
from mmengine.hooks import Hook

from x2vlm.engine import build_runner, replay
from x2vlm.engine.failures.nan_policy import NotFiniteError


class Spoil(Hook):
    """Lets what a word embeds to be infinite in some iterations: then losses are, and gradients."""

    def __init__(self, at=(), gradients_at=()) -> None:
        self.at, self.gradients_at = at, gradients_at

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        self.handle = None
        if batch_idx in self.at:
            self.saved = runner.model.vision_proj.bias.detach().clone()
            runner.model.vision_proj.bias.data[0] = torch.inf
        if batch_idx in self.gradients_at:
            spoilt = lambda gradient: gradient * torch.nan  # noqa: E731
            self.handle = runner.model.text_encoder.weight.register_hook(spoilt)

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        if batch_idx in self.at:
            runner.model.vision_proj.bias.data.copy_(self.saved)
        if self.handle is not None:
            self.handle.remove()


def spoilt(cfg: dict, action: str = "skip", options: dict | None = None, **where):
    cfg["train_cfg"]["bad_numbers"] = dict(action=action, **(options or {}))
    runner = build_runner(cfg)
    runner.register_hook(Spoil(**where))
    return runner


def log_of(runner) -> str:
    return Path(runner.work_dir, runner.timestamp, f"{runner.timestamp}.log").read_text()


class Weights(Hook):
    def __init__(self) -> None:
        self.history = []

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        self.history.append((runner.model.text_encoder.weight.detach().clone(), outputs))


def test_an_update_with_a_bad_loss_or_gradient_is_left_out_and_training_goes_on(config):
    runner = spoilt(config(6), at=[1], gradients_at=[3])
    weights = Weights()
    runner.register_hook(weights)
    runner.train()
    history = [weight for weight, _ in weights.history]
    changed = [not torch.equal(before, after) for before, after in pairwise(history)]
    assert changed == [False, True, False, True, True]
    assert all(weight.isfinite().all() for weight in history)
    assert all(torch.as_tensor(value).isfinite() for _, outputs in weights.history for value in outputs.values())
    assert "iteration 2: the loss is not a finite number.\n  image.loss_a is " in log_of(runner)
    assert "iteration 4: the losses are finite, but a gradient is not: of text_encoder.weight." in log_of(runner)
    assert "skipped, 1 in a row, 2 in all" in log_of(runner)
    assert runner.train_loop.state_dict()["bad_numbers"] == {"in_row": 0, "skipped": 2, "dumped": 2}


def test_a_bad_gradient_stops_the_run_by_default_and_names_parameters_losses_and_records(config):
    runner = spoilt(config(6), action="stop", gradients_at=[2])
    with pytest.raises(
        NotFiniteError, match=r"iteration 3: .*of text_encoder\.weight\.\n  image\.loss_a is \d.*tiny.jsonl"
    ):
        runner.train()
    assert all(parameter.isfinite().all() for parameter in runner.model.parameters())


def test_too_many_in_a_row_stop_the_run(config):
    runner = spoilt(config(9), options=dict(max_in_row=2), gradients_at=[1, 3, 4, 5])
    with pytest.raises(NotFiniteError, match=r"iteration 6: (.|\n)*That is 3 updates in a row"):
        runner.train()


def test_of_an_accumulation_with_one_bad_iteration_no_update_is_made(config):
    cfg = config(9)
    cfg["optim_wrapper"]["accumulative_counts"] = 3
    runner = spoilt(cfg, gradients_at=[3])
    weights = Weights()
    runner.register_hook(weights)
    runner.train()
    history = [weight for weight, _ in weights.history]
    assert not torch.equal(history[1], history[2])
    assert torch.equal(history[2], history[5])
    assert not torch.equal(history[5], history[8])


@pytest.mark.parametrize("where", [dict(at=[2]), dict(gradients_at=[2])])
def test_a_dump_is_plain_and_has_the_step_again(config, tmp_path, where):
    cfg = config(3)
    runner = spoilt(cfg, action="stop", **where)
    with pytest.raises(NotFiniteError, match=r"iter_3_rank_0\.pth holds this step"):
        runner.train()
    path = tmp_path / "work" / "bad_numbers" / "iter_3_rank_0.pth"
    assert torch.serialization.get_unsafe_globals_in_checkpoint(path) == []
    dump = torch.load(path)
    again = replay(path, cfg)
    assert {key: again[key] for key in dump["scalars"]} == pytest.approx(dump["scalars"], rel=0, abs=0, nan_ok=True)
    assert dump["batches"]["image"]["where"]
    assert (dump["iteration"], dump["seed"]) == (2, 1)


def test_dumps_are_few(config, tmp_path):
    runner = spoilt(config(6), options=dict(max_dumps=1), gradients_at=[1, 2, 3])
    runner.train()
    assert [path.name for path in (tmp_path / "work" / "bad_numbers").iterdir()] == ["iter_2_rank_0.pth"]
    assert "No dump is written: there are 1 already." in log_of(runner)


def test_what_another_process_met_is_skipped_here_too(config, monkeypatch):
    monkeypatch.setattr("x2vlm.engine.failures.nan_check.is_distributed", lambda: True)
    monkeypatch.setattr("x2vlm.engine.failures.nan_check.dist.all_reduce", lambda flag, op: flag.fill_(1))
    runner = spoilt(config(1))
    before = runner.model.text_encoder.weight.detach().clone()
    runner.train()
    assert torch.equal(runner.model.text_encoder.weight, before)
    assert "in another process, which names it" in log_of(runner)


def test_a_wrong_action_is_refused(config):
    with pytest.raises(Exception, match=r"bad_numbers\.action is 'ignore'\. Accepted: stop, skip\."):
        _ = spoilt(config(2), action="ignore").train_loop
