"""A workload: one computation by the library and by the reference path, on the same inputs with the same weights."""

from dataclasses import dataclass, field

from x2vlm.benchmark.timing.measurement import Run
from x2vlm.benchmark.workloads.model_sizes import Size

CAPTION_TOKENS = 40  # to which the reference path pads every text


@dataclass(frozen=True)
class Workload:
    """One computation by both sides.

    Attributes:
        name: In the table.
        library: Computes it with the library; returns the result.
        reference: Computes the same with the reference path.
        count: Number of items.
        unit: Of the items.
        parts: Cumulative parts of it by name (each computes a little more than the one before), for both sides.
        steps: The steps it consists of, where each is timed, for both sides.
    """

    name: str
    library: Run
    reference: Run
    count: int
    unit: str
    parts: dict[str, tuple[Run, Run]] = field(default_factory=dict)
    steps: tuple[tuple[Run, Run], ...] = ()


@dataclass(frozen=True)
class Scale:
    """Sizes and options of a workload.

    Attributes:
        size: Of the model.
        pairs: Captions, and as many regions, of a training step.
        queries: Images (texts) whose texts (images) are ranked.
        dropout: In training.
        precision: Of both sides: ``fp32``, ``bf16`` or ``fp16`` by autocast, ``tf32``.
        compiled: Whether the library compiles the blocks of its towers in training steps.
        device: Where both sides compute, ``cpu`` or ``cuda``. Features that are kept in main memory stay there.
        batches: Different batches of ``training``.
    """

    size: Size
    pairs: int = 8
    queries: int = 4
    dropout: float = 0.1
    precision: str = "fp32"
    compiled: bool = False
    device: str = "cpu"
    batches: int = 20

    @property
    def captioned(self) -> int:
        """Images that are captioned: more on a GPU, which a few leave idle."""
        return 2 if self.device == "cpu" else 32

    @property
    def encoded(self) -> tuple[int, int]:
        """Images and texts that are encoded."""
        return (4, 32) if self.device == "cpu" else (64, 512)
