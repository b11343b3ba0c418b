"""The one place attention goes through: named backends that all compute the same thing.

Shape letters: B batch, H heads, Q queries, K keys, d width of a head.
"""

import warnings
from collections.abc import Callable
from functools import cache

import torch
from torch import Tensor

from x2vlm.models.layers import backends  # noqa: F401  (registers them)
from x2vlm.registry import ATTENTION_BACKENDS

Backend = Callable[..., Tensor]


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
        mask: bool, broadcastable to ``[B, H, Q, K]``, True where a query may look. A row that may look nowhere gives
            unspecified (finite) values.
        bias: Added to the logits, broadcastable to ``[B, H, Q, K]``; may need a gradient.
        dropout: Probability with which a weight is dropped; pass 0 outside training.
        backend: A name in ``ATTENTION_BACKENDS``, or ``auto``: xformers where it can run, else ``flash_bias`` for a
            bias on a CPU without dropout, else ``sdpa``.

    Returns:
        ``[B, H, Q, d]``.

    Raises:
        ValueError: If there is no such backend, or the one named cannot do this on this device and type.
    """
    name = chosen(backend, query.device.type, query.dtype, mask is not None, bias is not None, dropout > 0)
    return ATTENTION_BACKENDS.module_dict[name](query, key, value, mask, bias, dropout)


def resolve(
    backend: str,
    device: str,
    dtype: torch.dtype,
    masked: bool = True,
    biased: bool = True,
    dropped: bool = False,
) -> Backend:
    """The function behind a name, after one tiny forward and backward pass has shown that it runs.

    Not every kernel takes a mask or a bias that learns, so what was shown counts for calls of the same kind only.
    """
    return ATTENTION_BACKENDS.module_dict[chosen(backend, device, dtype, masked, biased, dropped)]


def chosen(backend: str, device: str, dtype: torch.dtype, masked: bool, biased: bool, dropped: bool) -> str:
    """The name of what :func:`resolve` gives; torch.compile may take it for a constant."""
    return _chosen(backend, device, dtype, masked, biased, dropped)


@cache
def _chosen(backend: str, device: str, dtype: torch.dtype, masked: bool, biased: bool, dropped: bool) -> str:
    candidates = (backend,)
    if backend == "auto":
        candidates = ("xformers", *["flash_bias"] * biased, "sdpa", "eager")
    failures = []
    for name in candidates:
        fn = ATTENTION_BACKENDS.get(name)
        if fn is None:
            known = ", ".join(["auto", *sorted(ATTENTION_BACKENDS.module_dict)])
            raise ValueError(f"attention backend '{name}' is not known. Accepted: {known}.")
        reason = _probe(fn, device, dtype, masked, biased, dropped)
        if reason is None:
            return name
        failures.append(f"{name}: {reason.rstrip('.')}")
    given = ["a mask"] * masked + ["a learned bias"] * biased + ["dropout"] * dropped
    extras = " and ".join(given) or "neither mask nor bias"
    raise ValueError(
        f"attention with {extras} cannot run on {device} in {dtype}: {'; '.join(failures)}. Use 'auto' or 'eager'."
    )


def available(
    device: str = "cpu",
    dtype: torch.dtype = torch.float32,
    masked: bool = True,
    biased: bool = True,
    dropped: bool = False,
) -> list[str]:
    """Names of the backends that run on this device and type, with a mask, a bias that learns, dropout, or without."""
    known = ATTENTION_BACKENDS.module_dict.items()
    return [name for name, fn in known if _probe(fn, device, dtype, masked, biased, dropped) is None]


def _probe(fn: Backend, device: str, dtype: torch.dtype, masked: bool, biased: bool, dropped: bool) -> str | None:
    """Why a backend cannot run here, or None if it can. Versions lie about this; one small run does not."""
    try:
        with (
            warnings.catch_warnings(),
            torch.inference_mode(False),
            torch.enable_grad(),
            torch.random.fork_rng(devices=[]),
            torch.autocast(device, enabled=False),
            torch.autograd.graph.saved_tensors_hooks(_as_it_is, _as_it_is),  # hidden from activation checkpointing
        ):
            warnings.simplefilter("ignore")  # torch explains at length why a kernel does not fit
            # 16 wide: the least that kernels of GPUs take
            query, key = (torch.ones(1, 1, n, 16, device=device, dtype=dtype, requires_grad=True) for n in (2, 3))
            mask = torch.ones(1, 1, 1, 3, dtype=torch.bool, device=device)
            bias = torch.zeros(1, 1, 2, 3, device=device, dtype=dtype, requires_grad=True)
            dropout = 0.1 if dropped else 0.0
            fn(query, key, key, mask if masked else None, bias if biased else None, dropout).sum().backward()
    except (ImportError, RuntimeError, NotImplementedError, AttributeError) as error:
        return str(error).strip().split("\n")[0] or type(error).__name__
    return None


def _as_it_is(tensor: Tensor) -> Tensor:
    return tensor
