"""Facts of a run are readable."""

import pytest

from x2vlm.inference.report.run_facts import duration


@pytest.mark.parametrize(
    ("seconds", "text"), [(5.24, "5.2 s"), (125, "2 min 5 s"), (3720, "1 h 2 min"), (59.96, "1 min 0 s")]
)
def test_durations_are_readable(seconds, text):
    assert duration(seconds) == text
