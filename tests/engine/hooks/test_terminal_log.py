"""What of the log goes to the terminal."""

from pathlib import Path

from x2vlm.engine import build_runner


def test_long_listings_go_to_the_log_file_only(config, capsys):
    cfg = config(2, log_level="INFO")
    runner = build_runner(cfg)
    runner.train()
    shown = capsys.readouterr().out
    kept = Path(runner.work_dir, runner.timestamp, f"{runner.timestamp}.log").read_text()
    for text in ("System environment", "Hooks will be executed", "Config:", "FileClient"):
        assert text in kept
        assert text not in shown
    assert "Iter(train) [2/2]" in shown
    assert "Iter(train) [2/2]" in kept
