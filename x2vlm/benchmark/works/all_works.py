"""Every work that can be measured, by name, and how much of it."""

from collections.abc import Callable
from dataclasses import dataclass, replace

from x2vlm.benchmark.works.data_works import data, end_to_end
from x2vlm.benchmark.works.inference_works import Scale, Work, answer, caption, encode, rerank
from x2vlm.benchmark.works.model_sizes import SIZES
from x2vlm.benchmark.works.training_works import train_step, training, video_step

WORKS: dict[str, Callable[[Scale], list[Work]]] = {
    "train-step": train_step,
    "training": training,
    "video-step": video_step,
    "rerank": rerank,
    "encode": encode,
    "answer": answer,
    "caption": caption,
    "data": data,
    "end-to-end": end_to_end,
}
ALL = ("train-step", "train-step-16", "train-step-bf16", *list(WORKS)[1:])


@dataclass(frozen=True)
class Case:
    """A work and how it is done; plain words and numbers, so that another process can be told.

    Attributes:
        work: A key of ``WORKS``.
        size: A key of ``SIZES``.
        pairs: Captions, and as many regions, of a training step.
        queries: Images, and texts, whose candidates are ranked; None: 8 at base size, 2 at tiny.
        precision: Of both sides.
        compiled: Whether the library compiles blocks in a training step.
        device: ``cpu`` or ``cuda``; files are read on the CPU anyway.
        batches: Of varied training; None: 20, on a CPU at base size 6.
    """

    work: str
    size: str = "base"
    pairs: int = 8
    queries: int | None = None
    precision: str = "fp32"
    compiled: bool = False
    device: str = "cpu"
    batches: int | None = None

    @property
    def place(self) -> str:
        """The device that this work is measured on."""
        return "cpu" if self.work == "data" else self.device

    def works(self) -> list[Work]:
        """Built: models, weights and inputs."""
        queries = self.queries or (8 if self.size == "base" else 2)
        batches = self.batches or (6 if self.place == "cpu" and self.size == "base" else 20)
        scale = Scale(
            SIZES[self.size],
            self.pairs,
            queries,
            precision=self.precision,
            compiled=self.compiled,
            device=self.place,
            batches=batches,
        )
        return WORKS[self.work](scale)

    def named(self, name: str) -> "Case":
        """The same for one of ``ALL``."""
        if name == "train-step-16":
            return replace(self, work="train-step", pairs=16)
        if name == "train-step-bf16":
            return replace(self, work="train-step", precision="bf16")
        return replace(self, work=name)
