"""Epochs in iterations, and the batch over all processes."""

from types import SimpleNamespace

import pytest

from x2vlm.engine.epoch_length import check_global_batch, epoch_length, iterations_per_epoch


def stream(batch_size: int, records: int = 10, max_images: int | None = None) -> SimpleNamespace:
    """What is asked of a stream."""
    return SimpleNamespace(batch_size=batch_size, records_per_batch=max_images or batch_size, dataset=[None] * records)


@pytest.mark.parametrize(
    ("records", "batch", "processes", "epochs", "iterations"),
    [
        (5_114_489, 128, 8, 101, 504_495),  # base 4M: "500k steps"
        (5_114_489, 64, 16, 81, 404_595),  # stage 2: "400k"
        (5_004_332, 60, 8, 39, 406_614),  # CCLM: "400k"
        (1_323_042_683, 128, 24, 3, 1_292_034),
    ],
)
def test_the_published_runs_have_their_number_of_steps(records, batch, processes, epochs, iterations):
    assert epochs * iterations_per_epoch(records, batch, processes) == iterations


def test_an_epoch_ends_with_a_whole_update():
    assert iterations_per_epoch(100, batch_size=10, accumulation=4) == 12


def test_an_epoch_is_a_pass_over_the_named_stream_or_so_many_records():
    streams = dict(image=stream(3), region=stream(8, records=20, max_images=5))
    assert epoch_length(streams, None, None, processes=1, accumulation=1) == 4
    assert epoch_length(streams, "region", None, processes=1, accumulation=1) == 4
    assert epoch_length(streams, "region", None, processes=2, accumulation=1) == 2
    assert epoch_length(streams, "image", 300, processes=2, accumulation=1) == 50
    with pytest.raises(ValueError, match=r"epoch_of='imag' is no stream.*Did you mean 'image'"):
        epoch_length(streams, "imag", None, 1, 1)


def test_the_global_batch_counts_processes_and_accumulation():
    check_global_batch(dict(image=1024), dict(image=stream(64)), processes=8, accumulation=2)
    with pytest.raises(ValueError, match=r"global_batch\.image is 1024 .* a batch of 64 x 8 .* x 1 .* makes 512\."):
        check_global_batch(dict(image=1024), dict(image=stream(64)), processes=8, accumulation=1)
    with pytest.raises(ValueError, match=r"'imag' is no stream.*Did you mean 'image'"):
        check_global_batch(dict(imag=1024), dict(image=stream(64)), processes=8, accumulation=1)
