"""Memory that does not hold a step: a sentence with numbers, and what to lower."""

from types import SimpleNamespace

import pytest
import torch

from tests.engine.test_train_loop import TinyModelForSeveral
from x2vlm.engine import build_runner
from x2vlm.engine.failures.out_of_memory import StepOutOfMemoryError, describe_memory, describe_pass, is_out_of_memory
from x2vlm.registry import MODELS

ERRORS = dict(
    gpu=torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.\nMore of it."),
    cpu=RuntimeError("[enforce fail at alloc_cpu.cpp:119] DefaultCPUAllocator: can't allocate memory: 12 bytes"),
    python=MemoryError(),
    other=RuntimeError("mat1 and mat2 shapes cannot be multiplied"),
)


@MODELS.register_module(force=True)
class Greedy(TinyModelForSeveral):
    def __init__(self, error="gpu", activation_checkpointing=False, **options) -> None:
        super().__init__(**options)
        self.error = error

    def forward(self, batch, mode="loss", objectives=None):
        if self.training:
            raise ERRORS[self.error]
        return super().forward(batch, mode, objectives)


def greedy(config, error="gpu", **model):
    cfg = config(3)
    cfg["model"] = dict(type="Greedy", error=error, **model)
    cfg["streams"]["image"]["max_images"] = 1
    return cfg


@pytest.mark.parametrize(
    ("error", "message"),
    [("gpu", "CUDA out of memory. Tried to allocate 2.00 GiB."), ("cpu", "12 bytes"), ("python", "")],
)
def test_a_step_that_is_too_large_is_described_with_what_helps(config, error, message):
    with pytest.raises(StepOutOfMemoryError) as caught:
        build_runner(greedy(config, error)).train()
    lines = str(caught.value).splitlines()
    assert lines == [
        "iteration 1: out of memory with stream 'image' (2 pairs from 1 records), stream 'text' (3 pairs). "
        "The device is cpu.",
        "What helps: a lower streams.image.batch_size (now 2); a lower streams.image.max_images (now 1); a lower "
        "streams.text.batch_size (now 3); model.activation_checkpointing=True, which takes more time; "
        'train_cfg.passes="by_stream" (now "together"); optim_wrapper.precision="bf16" (now "fp32").',
        lines[2],
    ]
    assert message in lines[2]
    assert caught.value.__cause__ is ERRORS[error]


def test_what_is_set_already_is_not_advised(config):
    cfg = greedy(config, activation_checkpointing=True)
    cfg["train_cfg"]["passes"] = "by_stream"
    cfg["optim_wrapper"]["precision"] = "bf16"
    with pytest.raises(torch.cuda.OutOfMemoryError) as caught:
        build_runner(cfg).train()
    assert "stream 'image' (2 pairs from 1 records). " in str(caught.value)
    assert "What helps: a lower streams.image.batch_size (now 2); a lower streams.image.max_images (now 1)." in str(
        caught.value
    )


def test_other_errors_stay_what_they_are(config):
    with pytest.raises(RuntimeError, match=r"^mat1 and mat2 shapes cannot be multiplied$"):
        build_runner(greedy(config, "other")).train()
    assert [name for name, error in ERRORS.items() if is_out_of_memory(error)] == ["gpu", "cpu", "python"]


def test_an_update_that_is_too_large_is_reported_as_an_update(config, monkeypatch):
    runner = build_runner(config(2))
    loop = runner.train_loop

    def run():
        monkeypatch.setattr(runner.optim_wrapper.optimizer, "step", lambda: fail(ERRORS["gpu"]))
        return type(loop).run(loop)

    monkeypatch.setattr(loop, "run", run)
    with pytest.raises(StepOutOfMemoryError, match=r"^iteration 1 \(the update\): out of memory with stream 'image'"):
        runner.train()


def fail(error):
    raise error


def test_a_gpus_memory_is_reported_in_gib(monkeypatch):
    gib = 2**30
    monkeypatch.setattr("torch.cuda.get_device_properties", lambda device: SimpleNamespace(total_memory=79 * gib))
    monkeypatch.setattr("torch.cuda.memory_allocated", lambda device: 70 * gib)
    monkeypatch.setattr("torch.cuda.memory_reserved", lambda device: 75 * gib)
    device = torch.device("cuda:0")
    expected = "Of the 79.0 GiB of cuda:0 torch has reserved 75.0, of which 70.0 are allocated."
    assert describe_memory(device) == expected
    stream = SimpleNamespace(name="region", batch_size=64, records_per_batch=24)
    settings = dict(passes="together", precision="bf16", activation_checkpointing=True)
    sentence = describe_pass("iteration 3", [stream], device, settings)
    assert expected in sentence
    assert "by_stream" not in sentence  # one stream is by itself already
