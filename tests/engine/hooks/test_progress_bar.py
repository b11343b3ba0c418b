"""The progress bar on a terminal."""

import time

from mmengine.hooks import Hook
from mmengine.logging import HistoryBuffer

from x2vlm.engine import build_runner
from x2vlm.engine.hooks.progress_bar import progress_text


def test_the_progress_text_is_short_and_holds_throughput_and_losses():
    logged = {
        "train/loss": HistoryBuffer([3.25], [1]),
        "train/image.loss_itc": HistoryBuffer([1.5], [1]),
        "train/pairs_per_second": HistoryBuffer([412.3], [1]),
        "val/loss": HistoryBuffer([9.0], [1]),
    }
    assert progress_text(logged, 80) == "412 pairs/s, loss 3.25, image.itc 1.5"
    assert progress_text(logged, 12) == "412 pairs..."


class Patience(Hook):
    """Makes steps long enough for the live line to be drawn."""

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        time.sleep(0.12)


def test_on_a_terminal_there_is_a_progress_bar_with_eta_and_losses(config, monkeypatch, capsys):
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    monkeypatch.setenv("TQDM_MININTERVAL", "0")
    cfg = config(4)
    cfg["default_hooks"]["progress"] = dict(type="ProgressHook")
    runner = build_runner(cfg)
    runner.register_hook(Patience())
    runner.train()
    line = capsys.readouterr().err
    assert "/4 [" in line
    assert "<" in line  # time so far < time to go
    assert "pairs/s, " in line
    assert "image.a" in line


def test_without_a_terminal_there_is_no_progress_bar(config, train, capsys):
    cfg = config(4)
    cfg["default_hooks"]["progress"] = dict(type="ProgressHook")
    train(cfg)
    assert "/4 [" not in capsys.readouterr().err
