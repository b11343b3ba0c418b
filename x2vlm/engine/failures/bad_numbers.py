"""NaN and infinity in losses and gradients: named, dumped to be had again, stopped at or stepped over."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import torch
from mmengine.logging import print_log
from torch import Tensor, nn

from x2vlm.building import build
from x2vlm.data.batch import Batch
from x2vlm.distributed import is_spread, rank
from x2vlm.engine.checkpoint.integrity import part_of
from x2vlm.engine.optim.optim_wrapper import autocast
from x2vlm.engine.total_loss import NotFiniteError, losses_of, named_scalars, sum_of_losses
from x2vlm.registry import MODELS, TOKENIZERS
from x2vlm.weights.weight_files import read_checkpoint

ACTIONS = ("stop", "skip")
FOLDER = "bad_numbers"


@dataclass
class BadNumbers:
    """What happens when a loss or a gradient is NaN or infinite.

    Attributes:
        action: ``"stop"`` ends the run before the update. ``"skip"`` leaves out the update (with accumulation all of
            it), says so, and goes on; in all processes if it happened in one.
        max_in_row: With ``"skip"``: so many updates in a row may be left out; one more ends the run.
        max_dumps: So many dumps are written, one for each such step, into ``bad_numbers`` in the work folder; each
            holds the weights. See :func:`replay`.
    """

    action: str = "stop"
    max_in_row: int = 10
    max_dumps: int = 3

    def __post_init__(self) -> None:
        if self.action not in ACTIONS:
            raise ValueError(f"bad_numbers.action is {self.action!r}. Accepted: {', '.join(ACTIONS)}.")
        if self.max_in_row < 1 or self.max_dumps < 0:
            raise ValueError("bad_numbers.max_in_row is counted from 1 on, max_dumps from 0 on.")
        self.in_row = self.skipped = self.dumped = 0

    def state_dict(self) -> dict[str, int]:
        """The counts, for checkpoints."""
        return {"in_row": self.in_row, "skipped": self.skipped, "dumped": self.dumped}

    def load_state_dict(self, state: Mapping[str, int]) -> None:
        """Go on from a :meth:`state_dict`."""
        self.in_row, self.skipped, self.dumped = state["in_row"], state["skipped"], state["dumped"]

    def met(self, text: str, iteration: int, dump: str) -> None:
        """Count an update that cannot be made, and say so.

        Raises:
            NotFiniteError: If the run is to stop.
        """
        self.in_row += 1
        text = f"iteration {iteration + 1}: {text}\n{dump}"
        if self.action == "stop":
            raise NotFiniteError(f"{text}\nThe run stops before the update. {_CURES}")
        if self.in_row > self.max_in_row:
            raise NotFiniteError(f"{text}\nThat is {self.in_row} updates in a row, and the run stops. {_CURES}")
        self.skipped += 1
        text = f"{text}\nThis update is left out, {self.in_row} in a row, {self.skipped} in all."
        print_log(text, logger="current", level=30)


_CURES = (
    "Look at these records; lower the learning rate or lengthen the warm-up; with fp16, try bf16. "
    'train_cfg.bad_numbers=dict(action="skip") leaves such updates out.'
)


def random_states() -> dict[str, Any]:
    """The states of torch's random numbers, on the CPU and on the GPU of this process."""
    cuda = torch.cuda.get_rng_state() if torch.cuda.is_available() and torch.cuda.is_initialized() else None
    return {"cpu": torch.get_rng_state(), "cuda": cuda}


def write_dump(folder: Path, content: Mapping[str, Any], batches: Mapping[str, Batch], model: nn.Module) -> str:
    """Write everything that :func:`replay` needs; gives the sentence that says where, or why not."""
    path = folder / FOLDER / f"iter_{content['iteration'] + 1}_rank_{rank()}.pth"
    state = model.state_dict()
    if any(is_spread(value) for value in state.values()):
        return "No dump is written: the weights are spread over processes."
    content = {**content, "batches": {name: _plain_batch(batch) for name, batch in batches.items()}}
    content["state_dict"] = {name: value.detach().cpu() for name, value in state.items()}
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        torch.save(content, part_of(path))
        part_of(path).replace(path)
    except (OSError, RuntimeError) as error:  # the latter is what torch makes of a full disk
        return f"No dump is written: {error}"
    finally:
        part_of(path).unlink(missing_ok=True)
    return f"{path} holds this step; x2vlm.engine.replay has it again (docs/training.md)."


def replay(dump: str | Path, cfg: Mapping[str, Any]) -> dict[str, float]:
    """Do the forward and backward passes of a dumped step again, in one process; nothing is updated.

    Args:
        dump: A file of the folder ``bad_numbers``. Only tensors and plain values are read from it.
        cfg: The config of that run, from :func:`x2vlm.load_config`. A dump holds none, as configs are code.

    Returns:
        The losses, ``<stream>.<name>`` and ``loss``, and ``grad_norm``: to the bit those of a run of one process.

    Raises:
        CheckpointError: If the file is no dump that can be read.
    """
    content = read_checkpoint(dump)
    tokenizer = build(TOKENIZERS, cfg["tokenizer"], "tokenizer") if cfg.get("tokenizer") else None
    model = build(MODELS, cfg["model"], "model", tokenizer=tokenizer)
    model.load_state_dict(content["state_dict"])
    device = torch.device("cuda" if content["random"]["cuda"] is not None else "cpu")
    model.to(device).train()
    torch.set_rng_state(content["random"]["cpu"])
    if device.type == "cuda":
        torch.cuda.set_rng_state(content["random"]["cuda"])
    total, scalars = torch.zeros((), device=device), {}
    for names in content["passes"]:
        batches = {name: Batch(**content["batches"][name]).to(device) for name in names}
        with autocast(content["precision"], device):
            outputs = losses_of(model, batches, content["update"])
        loss = sum(sum_of_losses(outputs[name]) for name in names)
        (loss / content["accumulative_counts"]).backward()
        total = total + loss.detach()
        scalars |= {name: float(value) for name, value in named_scalars(outputs).items()}
    gradients = [p.grad for p in model.parameters() if p.grad is not None]
    return scalars | {"loss": float(total), "grad_norm": float(torch.nn.utils.get_total_norm(gradients))}


def _plain_batch(batch: Batch) -> dict[str, Any]:
    values = {one.name: getattr(batch, one.name) for one in fields(batch) if one.name not in ("bad", "extras", "host")}
    return {name: value.detach().cpu() if isinstance(value, Tensor) else value for name, value in values.items()}
