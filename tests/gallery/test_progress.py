"""Progress of a long task: in the log from time to time, on a terminal continuously."""

import pytest

from x2vlm.gallery import progress
from x2vlm.gallery.progress import Progress


@pytest.fixture
def lines(monkeypatch):
    logged = []
    monkeypatch.setattr(progress, "print_log", lambda line, logger: logged.append(line))
    return logged


def test_the_log_shows_the_rate_the_remaining_time_and_the_end(lines, monkeypatch):
    clock = iter([0.0, 5.0, 10.0, 10.0, 20.0, 20.0])
    monkeypatch.setattr(progress.time, "monotonic", lambda: next(clock))
    with Progress("encoding", 40, "records", seconds=8) as task:
        task.add(5)  # too early for a line
        task.add(15)
        task.done = 40
    assert lines == ["encoding: 20 of 40 records, 2.0 a second, 10 s to go", "encoding: 40 of 40 records, 2.0 a second"]


def test_a_terminal_shows_a_live_line(lines, monkeypatch, capsys):
    monkeypatch.setattr(progress.sys.stderr, "isatty", lambda: True, raising=False)
    with Progress("encoding", 4, "records") as task:
        task.add(4)
    assert "encoding" in capsys.readouterr().err


def test_a_task_that_fails_does_not_log_its_end(lines):
    with pytest.raises(KeyError), Progress("encoding", 4, "records"):
        raise KeyError
    assert lines == []


def test_an_empty_task_logs_nothing(lines):
    with Progress("encoding", 0, "records"):
        pass
    assert lines == []
