"""A model, data and a metric of a few numbers, which keep the contracts of the real ones; registered under Tiny*."""

import os
import random
import signal
from collections.abc import Iterable, Mapping

import torch
from mmengine.hooks import Hook
from mmengine.model import BaseModel
from torch import Tensor, nn

from x2vlm.data.batch import Batch, Sample
from x2vlm.data.datasets.base import Adapter
from x2vlm.data.record import RecordError
from x2vlm.registry import DATASETS, HOOKS, METRICS, MODELS, TRANSFORMS

WORDS = 17
PLAN = dict(
    turns=dict(some=dict(share=0.4, without=("b",)), all=dict(share=0.6)),
    updates=(("text",), ("image",)),
)


@MODELS.register_module(force=True)
class TinyModel(BaseModel):
    """Embeds words and drops some; objective ``a`` wants small outputs, ``b`` wants them to sum to 1."""

    def __init__(self, width: int = 4, dropout: float = 0.5, broken_after: int | None = None) -> None:
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            self.text_encoder = nn.Embedding(WORDS, width)
            self.vision_proj = nn.Linear(width, width)
            self.unused = nn.Linear(width, width)
        self.temperature = nn.Parameter(torch.tensor(0.7))
        self.dropout = nn.Dropout(dropout)
        self.objectives = {"a": None, "b": None}
        self.clamped, self.calls, self.broken_after = 0, [], broken_after

    def clamp_temperature(self) -> None:
        self.clamped += 1
        with torch.no_grad():
            self.temperature.clamp_(0.001, 0.5)

    def fresh_parameters(self) -> set[str]:
        return {"vision_proj.weight", "vision_proj.bias", "temperature"}

    def forward(self, batch: Batch, mode: str = "loss", objectives: Iterable[str] | None = None) -> dict[str, Tensor]:
        out = self.dropout(self.vision_proj(self.text_encoder(batch.text_ids).mean(dim=1))) / self.temperature
        losses = {"a": out.pow(2).mean(), "b": (out.sum(dim=1) - 1).pow(2).mean()}
        self.calls.append((len(batch), self.training))
        if self.broken_after is not None and len(self.calls) > self.broken_after:
            losses["b"] = losses["b"] * float("nan")
        factors = objectives if isinstance(objectives, Mapping) else dict.fromkeys(objectives or losses, 1.0)
        return {f"loss_{name}": factor * losses[name] for name, factor in factors.items()} | {
            "size": torch.tensor(float(len(batch)))
        }


@DATASETS.register_module(force=True)
class TinyTexts(Adapter):
    """Record ``i`` is word ``i`` and a random one; those in ``bad`` cannot be used."""

    def __init__(self, size: int = 10, bad: Iterable[int] = (), texts: int = 1, file: str = "tiny.jsonl") -> None:
        super().__init__()
        self.size, self.bad, self.texts, self.file = size, set(bad), texts, file

    def __len__(self) -> int:
        return self.size

    def record(self, index: int) -> dict:
        where = f"{self.file}:{index}"
        if index in self.bad:
            raise RecordError(where, "it is broken")
        return {"where": where}

    def __getitem__(self, index: int) -> Sample:
        where = self.record(index)["where"]
        noise = random.randrange(WORDS), int(torch.randint(WORDS, ()))
        return Sample(where, [f"{index % WORDS} {noise[0]} {noise[1]}"] * self.texts, ids=[where] * self.texts)


@TRANSFORMS.register_module(force=True)
class TinyCollate:
    """Words are numbers; a random one of the batch (or always the same) is put in front."""

    def __init__(self, batch_size: int | None = None, noise: bool = True) -> None:
        self.batch_size, self.noise = batch_size, noise

    def __call__(self, samples: list[Sample]) -> Batch:
        first = random.randrange(WORDS) if self.noise else 0
        pairs = [(sample.where, text) for sample in samples for text in sample.texts][: self.batch_size]
        ids = torch.tensor([[first, *map(int, text.split())] for _, text in pairs], dtype=torch.long).reshape(-1, 4)
        return Batch(text_ids=ids, text_mask=torch.ones_like(ids).bool(), where=[where for where, _ in pairs])


@METRICS.register_module(force=True)
class TinyMetric:
    """Number of batches, and whether the model was in evaluation mode without gradients."""

    def evaluate(self, model: nn.Module, loader: Iterable[Batch]) -> dict[str, float]:
        losses = [model(batch, objectives=["a"])["loss_a"] for batch in loader]
        return {
            "batches": len(losses),
            "loss_free": float(torch.stack(losses).mean()),
            "eval_mode": float(not model.training and not losses[0].requires_grad),
        }


@HOOKS.register_module(force=True)
class TinySignals(Hook):
    """Sends this process a signal in the middle of an iteration."""

    def __init__(self, at: int, number: int = signal.SIGINT) -> None:
        self.at, self.number = at, number

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        if batch_idx + 1 == self.at:
            os.kill(os.getpid(), self.number)


def tiny_config(work_dir, max_iters: int = 4, **changes) -> dict:
    """Two streams and an evaluation; ``changes`` replace top-level keys."""
    config = dict(
        default_scope="x2vlm",
        work_dir=str(work_dir),
        model=dict(type="TinyModel"),
        streams=dict(
            image=dict(dataset=dict(type="TinyTexts", size=10), collate=dict(type="TinyCollate"), batch_size=2),
            text=dict(
                dataset=dict(type="TinyTexts", size=7),
                collate=dict(type="TinyCollate"),
                batch_size=3,
                weight=0.5,
                objectives=["a"],
            ),
        ),
        evaluations=dict(
            held_out=dict(
                dataset=dict(type="TinyTexts", size=5),
                collate=dict(type="TinyCollate"),
                metric=dict(type="TinyMetric"),
                batch_size=2,
            )
        ),
        train_cfg=dict(type="MixedTrainLoop", max_iters=max_iters),
        optim_wrapper=dict(
            type="MixedOptimWrapper",
            optimizer=dict(type="AdamW", lr=0.01),
            constructor="X2VLMOptimConstructor",
            clip_grad=dict(max_norm=1.0),
        ),
        param_scheduler=dict(type="WarmupLinear", warmup=0.1),
        default_hooks=dict(logger=dict(type="LoggerHook", interval=2), checkpoint=dict(type="CheckpointHook")),
        randomness=dict(seed=1),
        custom_imports=dict(imports=["tests.engine.tiny_parts"]),
        log_level="WARNING",
    )
    return config | changes


def sgd_config(work_dir, max_iters: int, factor: int = 1, **optim_wrapper) -> dict:
    """No dropout, no noise of the batch, plain SGD, ``factor`` times the batch: for comparing runs of two shapes."""
    config = tiny_config(work_dir, max_iters)
    config["model"]["dropout"] = 0.0
    config["optim_wrapper"] |= dict(optimizer=dict(type="SGD", lr=0.1)) | optim_wrapper
    for stream in config["streams"].values():
        stream["batch_size"] *= factor
        stream["collate"] = dict(type="TinyCollate", noise=False)
    return config
