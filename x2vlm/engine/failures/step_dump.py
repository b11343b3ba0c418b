"""Dump of a bad step (batches, weights, random states) into the work folder, and its replay."""

from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from x2vlm.building import build
from x2vlm.data.batch import Batch
from x2vlm.distributed import is_sharded, rank
from x2vlm.engine.checkpoint.atomic_save import part_of
from x2vlm.engine.optim.autocast import autocast
from x2vlm.engine.total_loss import compute_losses, named_scalars, sum_of_losses
from x2vlm.registry import MODELS, TOKENIZERS
from x2vlm.weights.read_weights import read_checkpoint

FOLDER = "bad_numbers"


def random_states() -> dict[str, Any]:
    """States of torch's random generators, on the CPU and on this process's GPU (None without one)."""
    cuda = torch.cuda.get_rng_state() if torch.cuda.is_available() and torch.cuda.is_initialized() else None
    return {"cpu": torch.get_rng_state(), "cuda": cuda}


def write_dump(folder: Path, content: Mapping[str, Any], batches: Mapping[str, Batch], model: nn.Module) -> str:
    """Write what :func:`replay` needs.

    Args:
        folder: The work folder.
        content: Plain values: iteration, random states, objectives, ...
        batches: The step's batches by stream.
        model: Its weights are those before the update.

    Returns:
        The sentence that says where the dump is, or why there is none.
    """
    path = folder / FOLDER / f"iter_{content['iteration'] + 1}_rank_{rank()}.pth"
    state = model.state_dict()
    if any(is_sharded(value) for value in state.values()):
        return "No dump is written: the weights are sharded over processes."
    content = {**content, "batches": {name: _batch_content(batch) for name, batch in batches.items()}}
    content["state_dict"] = {name: value.detach().cpu() for name, value in state.items()}
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        torch.save(content, part_of(path))
        part_of(path).replace(path)
    except (OSError, RuntimeError) as error:  # torch raises the latter on a full disk
        return f"No dump is written: {error}"
    finally:
        part_of(path).unlink(missing_ok=True)
    return f"{path} holds this step; x2vlm.engine.replay repeats it (docs/training.md)."


def replay(dump: str | Path, cfg: Mapping[str, Any]) -> dict[str, float]:
    """Repeat the forward and backward passes of a dumped step in one process; nothing is updated.

    Args:
        dump: A file of the folder ``bad_numbers``. Only tensors and plain values are read from it.
        cfg: The config of that run, from :func:`x2vlm.load_config`. A dump holds none, as configs are code.

    Returns:
        The losses, ``<stream>.<name>`` and ``loss``, and ``grad_norm``: bit-identical to those of a run of one process.

    Raises:
        CheckpointError: If the file cannot be read.
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
            outputs = compute_losses(model, batches, content["update"])
        loss = sum(sum_of_losses(outputs[name]) for name in names)
        (loss / content["accumulative_counts"]).backward()
        total = total + loss.detach()
        scalars |= {name: float(value) for name, value in named_scalars(outputs).items()}
    gradients = [p.grad for p in model.parameters() if p.grad is not None]
    return scalars | {"loss": float(total), "grad_norm": float(torch.nn.utils.get_total_norm(gradients))}


def _batch_content(batch: Batch) -> dict[str, Any]:
    names = [field.name for field in fields(batch) if field.name not in ("bad", "extras", "host")]
    values = {name: getattr(batch, name) for name in names}
    return {name: value.detach().cpu() if isinstance(value, Tensor) else value for name, value in values.items()}
