"""Reading rates."""

from x2vlm.planning.model_shapes import BatchShape
from x2vlm.planning.read_rates import read_rate, seconds_per_record


def test_reading_is_counted_in_records_and_shards():
    batch = BatchShape(128, 50, 1, 40, 12, ("itc",))
    read = read_rate(batch, 5_000_000, 100_000, 8, step_seconds=0.5, record_bytes=50_000, shard_bytes=5e8)
    assert (read.records, read.rate, read.megabytes) == (400, 800, 40)
    assert (read.shards, read.passes) == (500, 8.0)
    assert seconds_per_record(800, processes=8, workers=4) == 0.04
    unknown = read_rate(batch, None, 1, 1, 1.0, 1, 1)
    assert (unknown.shards, unknown.passes) == (None, None)
