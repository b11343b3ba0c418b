import pytest

from x2vlm.benchmark.timing import varied_steps
from x2vlm.benchmark.timing.varied_steps import time_steps


@pytest.fixture
def clock(monkeypatch):
    """Runs report their seconds instead of taking them; what ran is recorded."""
    ran = []

    def seconds_of(run, device):
        assert device == "cpu"
        ran.append(run())
        return run()[1]

    monkeypatch.setattr(varied_steps, "seconds_of", seconds_of)
    return ran


def steps(seconds):
    """The second side takes ten times as long."""
    return [(lambda i=i, s=s: (i, s), lambda i=i, s=s: (i, 10 * s)) for i, s in enumerate(seconds)]


def test_the_first_step_stands_apart_and_the_median_one_is_repeated(clock):
    timed, middle = time_steps(steps([9.0, 1.0, 3.0, 2.0]))
    (library, each), (reference, _) = timed
    assert middle == 3
    assert each == [1.0, 3.0, 2.0]
    assert (library["first"], library["median"], library["greatest"], library["repeated"]) == (9.0, 2.0, 3.0, 2.0)
    assert reference["first"] == 90.0
    assert library["varied_by_repeated"] == reference["varied_by_repeated"] == 1.0
    assert [number for number, _ in clock[8:]] == [3] * 8


def test_sides_take_turns_at_being_first(clock):
    time_steps(steps([1.0, 1.0]))
    assert [seconds for _, seconds in clock] == [1.0, 10.0, 10.0, 1.0] * 2


def test_one_step_is_refused():
    with pytest.raises(ValueError, match="1 step; expected 2 or more"):
        time_steps(steps([1.0]))
