"""Attention through named backends that compute the same function, and the choice among them.

Shape letters: B batch, H heads, Q queries, K keys, d width of a head.
"""

from collections.abc import Callable
from functools import cache, partial

import torch
from torch import Tensor

from x2vlm.building import ConfigError, suggestion
from x2vlm.models.layers import backends  # noqa: F401  (registers them)
from x2vlm.models.layers.kernel_trial import present, why_not
from x2vlm.registry import ATTENTION_BACKENDS

Backend = Callable[..., Tensor]
KeyValue = tuple[Tensor, Tensor]  # [B, H, K, d] each


def attend(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    mask: Tensor | None = None,
    bias: Tensor | None = None,
    dropout: float = 0.0,
    backend: str = "auto",
    ragged: bool = False,
) -> Tensor:
    """Softmax attention, scaled by ``d ** -0.5``.

    Args:
        query: ``[B, H, Q, d]``.
        key: ``[B, H, K, d]``.
        value: ``[B, H, K, d]``.
        mask: bool, broadcastable to ``[B, H, Q, K]``, True where a query may attend. Rows without a True have
            unspecified (finite) values.
        bias: Added to the logits, broadcastable to ``[B, H, Q, K]``; may need a gradient.
        dropout: Probability with which a weight is dropped; pass 0 outside training.
        backend: A name in ``ATTENTION_BACKENDS``, or ``auto``; see :func:`candidates`.
        ragged: Shapes differ from call to call: the kernel must need no preparation for a new shape.

    Returns:
        ``[B, H, Q, d]``.

    Raises:
        ConfigError: If there is no such backend, or it does not support this call on this device and type.
    """
    frozen = bias is not None and not (torch.is_grad_enabled() and bias.requires_grad)
    call = (mask is not None, bias is not None, dropout > 0)
    name = chosen_backend(backend, query.device.type, query.dtype, *call, ragged, frozen)
    return ATTENTION_BACKENDS.module_dict[name](query, key, value, mask, bias, dropout)


def resolve(
    backend: str,
    device: str,
    dtype: torch.dtype,
    masked: bool = True,
    biased: bool = True,
    dropped: bool = False,
    ragged: bool = False,
    frozen: bool = False,
) -> Backend:
    """The function behind the name that :func:`chosen_backend` gives."""
    return ATTENTION_BACKENDS.module_dict[
        chosen_backend(backend, device, dtype, masked, biased, dropped, ragged, frozen)
    ]


def chosen_backend(
    backend: str,
    device: str,
    dtype: torch.dtype,
    masked: bool,
    biased: bool,
    dropped: bool,
    ragged: bool = False,
    frozen: bool = False,
) -> str:
    """The cached result of :func:`choose` for each kind of call; constant under torch.compile.

    On a device that this machine lacks (fake tensors), no backend is run and the order of candidates decides.
    """
    return _cached_choice(backend, device, dtype, masked, biased, dropped, ragged, frozen)


def choose(
    backend: str,
    device: str,
    dtype: torch.dtype,
    masked: bool,
    biased: bool,
    dropped: bool,
    ragged: bool = False,
    frozen: bool = False,
    refusal: Callable[..., str | None] | None = None,
) -> str:
    """The first candidate that supports a kind of call.

    Args:
        backend: A name in ``ATTENTION_BACKENDS``, or ``auto``.
        device: ``cpu``, ``cuda``, ...
        dtype: Of query, key and value.
        masked: With a mask.
        biased: With a bias added to the logits.
        dropped: With dropout of weights.
        ragged: Shapes differ from call to call.
        frozen: The bias needs no gradient.
        refusal: ``(name, device, dtype, masked, biased, dropped, frozen) ->`` the reason why a backend does not
            support the call, or None. Not every kernel supports a mask or a learned bias, so the answer holds for calls
            of the same kind only.

    Raises:
        ConfigError: If there is no such backend, or none that supports the call.
    """
    names = candidates(device, biased, ragged, frozen) if backend == "auto" else (backend,)
    reasons = []
    for name in names:
        check_backend(name)
        reason = (refusal or _refusal)(name, device, dtype, masked, biased, dropped, frozen)
        if reason is None:
            return name
        reasons.append(f"{name}: {reason.rstrip('.')}")
    extras = ["a mask"] * masked + [f"a {'fixed' if frozen else 'learned'} bias"] * biased + ["dropout"] * dropped
    described = " and ".join(extras) or "neither mask nor bias"
    raise ConfigError(
        f"attention with {described} cannot run on {device} in {dtype}: {'; '.join(reasons)}. Use 'auto' or 'eager'."
    )


def check_backend(name: str, path: str = "") -> None:
    """Refuse a name that is neither ``auto`` nor a registered backend.

    Args:
        name: The name.
        path: Its path in the config.

    Raises:
        ConfigError: If it is unknown.
    """
    names = ["auto", *sorted(ATTENTION_BACKENDS.module_dict)]
    if name not in names:
        near = suggestion(name, names)
        raise ConfigError(f"attention backend '{name}' is not known. Accepted: {', '.join(names)}.{near}", path)


def candidates(device: str, biased: bool, ragged: bool, frozen: bool) -> tuple[str, ...]:
    """The backends that ``auto`` tries, best first.

    On a CPU ``flash_bias`` where there is a bias, else ``sdpa``. On a GPU torch's own preference (``sdpa``) where
    shapes repeat, and ``sdpa_without_cudnn`` where they do not, or where a bias needs a gradient: cuDNN builds a plan
    for each new shape, some 100 ms, and has no gradient of a bias.
    """
    if device == "cpu":
        return (*["flash_bias"] * biased, "sdpa", "eager")
    avoids_cudnn = ragged or (biased and not frozen)
    return ("sdpa_without_cudnn" if avoids_cudnn else "sdpa", "eager")


def available(
    device: str = "cpu",
    dtype: torch.dtype = torch.float32,
    masked: bool = True,
    biased: bool = True,
    dropped: bool = False,
    frozen: bool = False,
) -> list[str]:
    """Names of the backends that support a kind of call on this device and type."""
    call = (device, dtype, masked, biased, dropped, frozen)
    return [name for name in ATTENTION_BACKENDS.module_dict if _refusal(name, *call) is None]


def _refusal(
    name: str, device: str, dtype: torch.dtype, masked: bool, biased: bool, dropped: bool, frozen: bool
) -> str | None:
    """The reason why a backend does not run here, or None, from one tiny run, forward and backward."""
    if not present(device):
        return None
    return why_not(partial(_run_once, name, device, dtype, masked, biased, dropped, frozen))


def _run_once(
    name: str, device: str, dtype: torch.dtype, masked: bool, biased: bool, dropped: bool, frozen: bool
) -> None:
    # 16 wide: the least that kernels of GPUs take
    query, key = (torch.ones(1, 1, n, 16, device=device, dtype=dtype, requires_grad=True) for n in (2, 3))
    mask = torch.ones(1, 1, 1, 3, dtype=torch.bool, device=device)
    bias = torch.zeros(1, 1, 2, 3, device=device, dtype=dtype, requires_grad=not frozen)
    call = (mask if masked else None, bias if biased else None, 0.1 if dropped else 0.0)
    ATTENTION_BACKENDS.module_dict[name](query, key, key, *call).sum().backward()


_cached_choice = cache(choose)
