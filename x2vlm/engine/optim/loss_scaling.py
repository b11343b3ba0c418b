"""Loss scaling for fp16: the gradient scaler, and an update with it that never waits for the device."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from x2vlm.distributed import is_sharded, local_shard

MIN_SCALE = 1e-4  # below it, gradients overflow whatever the scale


def build_scaler(
    precision: str, device: torch.device, parameters: Sequence[nn.Parameter]
) -> torch.amp.GradScaler | None:
    """The gradient scaler of a precision; None where the loss is not scaled, in fp32 and bf16.

    Raises:
        ValueError: If fp16 is wanted for sharded parameters, whose overflow the scaler would see in one process only.
    """
    if precision != "fp16":
        return None
    if any(map(is_sharded, parameters)):
        raise ValueError("precision fp16 needs its loss scaled, which FullySharded models do not allow. Use bf16.")
    return torch.amp.GradScaler(device.type)


def scale_loss(scaler: torch.amp.GradScaler | None, loss: Tensor) -> Tensor:
    """The loss times the current scale; unchanged without a scaler."""
    return loss if scaler is None else scaler.scale(loss)


def step_unless(
    bad: Tensor, scaler: torch.amp.GradScaler, gradients: Sequence[Tensor], step: Callable[[], None]
) -> None:
    """A scaled update that is skipped on the device where ``bad`` is 1, and then leaves the scale as it was.

    Args:
        bad: 1.0 or 0.0, on the device; it is not read back.
        scaler: The gradient scaler.
        gradients: Of the update; one of them is overwritten with NaN where ``bad`` is 1.
        step: Unscale, clip and update.
    """
    state = (scaler._scale, scaler._growth_tracker)
    before = [tensor.clone() for tensor in state]
    inject_nan(bad, gradients)
    step()
    scaler.update()
    for tensor, old in zip((scaler._scale, scaler._growth_tracker), before, strict=True):
        tensor.copy_(torch.where(bad.bool(), old, tensor))  # not an overflow: a smaller scale would not help


def inject_nan(bad: Tensor, gradients: Sequence[Tensor]) -> None:
    """Overwrite the smallest gradient with NaN where ``bad`` is 1, so that the scaler skips the update.

    The scaler inspects gradients only, and a NaN loss may have finite ones.
    """
    shards = [local_shard(gradient) for gradient in gradients]
    shards = [shard for shard in shards if shard.numel()]
    if shards:
        smallest = min(shards, key=Tensor.numel)
        smallest.add_(torch.where(bad.bool(), torch.nan, 0.0).to(smallest.dtype))
