"""Long work says how far it is: in the log from time to time, on a terminal all the time."""

import pytest

from x2vlm.gallery import progress
from x2vlm.gallery.progress import Progress


@pytest.fixture
def lines(monkeypatch):
    found = []
    monkeypatch.setattr(progress, "print_log", lambda line, logger: found.append(line))
    return found


def test_the_log_tells_rate_and_remaining_time_and_the_end(lines, monkeypatch):
    clock = iter([0.0, 5.0, 10.0, 10.0, 20.0, 20.0])
    monkeypatch.setattr(progress.time, "monotonic", lambda: next(clock))
    with Progress("encoding", 40, "records", seconds=8) as work:
        work.add(5)  # too early for a line
        work.add(15)
        work.done = 40
    assert lines == ["encoding: 20 of 40 records, 2.0 a second, 10 s to go", "encoding: 40 of 40 records, 2.0 a second"]


def test_a_terminal_has_a_live_line(lines, monkeypatch, capsys):
    monkeypatch.setattr(progress.sys.stderr, "isatty", lambda: True, raising=False)
    with Progress("encoding", 4, "records") as work:
        work.add(4)
    assert "encoding" in capsys.readouterr().err


def test_work_that_fails_does_not_say_that_it_is_done(lines):
    with pytest.raises(KeyError), Progress("encoding", 4, "records"):
        raise KeyError
    assert lines == []


def test_nothing_to_do_is_not_worth_a_line(lines):
    with Progress("encoding", 0, "records"):
        pass
    assert lines == []
