"""All workloads by name, and cases: a workload with its options."""

from collections.abc import Callable
from dataclasses import dataclass, replace

from x2vlm.benchmark.workloads.data_workloads import data, end_to_end
from x2vlm.benchmark.workloads.inference_workloads import answer, caption, encode, rerank
from x2vlm.benchmark.workloads.model_sizes import SIZES
from x2vlm.benchmark.workloads.training_workloads import train_step, training, video_step
from x2vlm.benchmark.workloads.workload import Scale, Workload

WORKLOADS: dict[str, Callable[[Scale], list[Workload]]] = {
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
ALL = ("train-step", "train-step-16", "train-step-bf16", *list(WORKLOADS)[1:])


@dataclass(frozen=True)
class Case:
    """A workload and its options; plain strings and numbers, so that it can be passed to another process.

    Attributes:
        work: A key of ``WORKLOADS``.
        size: A key of ``SIZES``.
        pairs: Captions, and as many regions, of a training step.
        queries: Images, and texts, whose candidates are ranked; None: 8 at base size, 2 at tiny.
        precision: Of both sides.
        compiled: Whether the library compiles blocks in a training step.
        device: ``cpu`` or ``cuda``; files are read on the CPU anyway.
        batches: Of varied training; None: 20, on a CPU at base size 6.
    """

    workload: str
    size: str = "base"
    pairs: int = 8
    queries: int | None = None
    precision: str = "fp32"
    compiled: bool = False
    device: str = "cpu"
    batches: int | None = None

    @property
    def measured_on(self) -> str:
        """The device that this workload is measured on."""
        return "cpu" if self.workload == "data" else self.device

    def workloads(self) -> list[Workload]:
        """Build the models, weights and inputs."""
        queries = self.queries or (8 if self.size == "base" else 2)
        batches = self.batches or (6 if self.measured_on == "cpu" and self.size == "base" else 20)
        scale = Scale(
            SIZES[self.size],
            self.pairs,
            queries,
            precision=self.precision,
            compiled=self.compiled,
            device=self.measured_on,
            batches=batches,
        )
        return WORKLOADS[self.workload](scale)

    def named(self, name: str) -> "Case":
        """The same for one of ``ALL``."""
        if name == "train-step-16":
            return replace(self, workload="train-step", pairs=16)
        if name == "train-step-bf16":
            return replace(self, workload="train-step", precision="bf16")
        return replace(self, workload=name)
