"""Checks of any module that a plugin brings: whether it is one, has what it must have, and runs."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses import FakeTensor

from x2vlm.models.eval_mode import at_rest
from x2vlm.part_errors import PartError, is_foreign, naming_the_part


def module_problems(part: Any) -> list[str]:
    """Why a part is no working module, a sentence each."""
    name = type(part).__name__
    if not isinstance(part, nn.Module):
        return [f"{name} is no torch.nn.Module. Derive the class from it."]
    if "_parameters" not in vars(part):
        return [f"{name}.__init__ must call super().__init__() first."]
    return list(hidden_modules(part))


def hidden_modules(part: nn.Module) -> Iterator[str]:
    """Modules in a plain list or dict, of which torch does not know, a sentence for each list."""
    known = {id(module) for module in part.modules()}
    for module in [module for module in part.modules() if is_foreign(module)]:
        for key, value in vars(module).items():
            items = value.values() if isinstance(value, dict) else value
            if key.startswith("_") or not isinstance(value, (list, tuple, dict)):
                continue
            if any(isinstance(item, nn.Module) and id(item) not in known for item in items):
                kind, better = type(value).__name__, "ModuleDict" if isinstance(value, dict) else "ModuleList"
                yield (
                    f"{type(module).__name__}.{key} is a {kind} of modules, whose weights would be neither trained nor "
                    f"saved. Use torch.nn.{better}."
                )


def attribute_problems(part: Any, names: Sequence[str]) -> list[str]:
    """A sentence about the attributes that a part lacks."""
    lacking = [name for name in names if not hasattr(part, name)]
    return [f"{type(part).__name__} lacks {', '.join(lacking)}; a part of this kind needs {', '.join(names)}."] * bool(
        lacking
    )


def run_once(part: nn.Module, given: str, call: Callable[[], Any]) -> tuple[Any, str]:
    """What a call gives in evaluation mode without gradients, and a sentence if it raises; ``given`` begins that."""
    try:
        with at_rest(part):
            return call(), ""
    except Exception as error:  # foreign code: whatever it raises, the part cannot do what it must
        if isinstance(error, PartError):
            if error.__cause__ is None:
                return None, error.sentence
            error = error.__cause__
        place = _innermost(error)
        return None, f"{given} raised {type(error).__name__}: {error}{place}"


def call_tower(tower: nn.Module, *inputs: Any, method: str = "__call__", **options: Any) -> Any:
    """Call a tower, or a method of it; what a plugin's raises is told with its class and the shapes it was given.

    Raises:
        PartError: In the place of what a plugin's tower raised.
    """
    call = getattr(tower, method)
    if not is_foreign(tower):
        return call(*inputs, **options)
    tensors = [getattr(value, "embeds", value) for value in inputs]
    given = ", ".join(shape_text(tensor) for tensor in tensors if isinstance(tensor, Tensor))
    title = "forward" if method == "__call__" else method
    with naming_the_part(tower, f"{title} of {given}" if given else title):
        return call(*inputs, **options)


def _innermost(error: BaseException) -> str:
    """File and line in which an error was raised."""
    frame = error.__traceback__
    while frame is not None and frame.tb_next is not None:
        frame = frame.tb_next
    return "" if frame is None else f" ({frame.tb_frame.f_code.co_filename}, line {frame.tb_lineno})"


def has_numbers(part: nn.Module) -> bool:
    """Whether a part can be run: tensors that are only shapes tell nothing."""
    return not any(tensor.is_meta or isinstance(tensor, FakeTensor) for tensor in part.parameters())


def device_of(part: nn.Module) -> torch.device:
    """The device of a part's weights."""
    return next((parameter.device for parameter in part.parameters()), torch.device("cpu"))


def is_count(value: Any) -> bool:
    """Whether a value is a positive whole number."""
    return isinstance(value, int) and not isinstance(value, bool) and value > 0


def is_pair(value: Any) -> bool:
    """Whether a value is two of them."""
    return isinstance(value, (tuple, list)) and len(value) == 2 and all(map(is_count, value))


def shape_text(tensor: Tensor) -> str:
    """A shape as in ``[2, 3]``."""
    return str(list(tensor.shape))


def dtype_text(dtype: torch.dtype) -> str:
    """A dtype as in ``float32``."""
    return str(dtype).removeprefix("torch.")


def described(value: Any) -> str:
    """What a value is, for a message: ``a Tensor [2, 3] of float32``, ``None``, ``a dict``."""
    if isinstance(value, Tensor):
        return f"a Tensor {shape_text(value)} of {dtype_text(value.dtype)}"
    if isinstance(value, (tuple, list)):
        return f"a {type(value).__name__} of {', '.join(map(described, value)) or 'nothing'}"
    return (
        "None"
        if value is None
        else f"{'an' if type(value).__name__[0].lower() in 'aeiou' else 'a'} {type(value).__name__}"
    )


def floating_dtypes(encoder: nn.Module) -> list[torch.dtype]:
    """Dtypes of the weights (a frozen part may be of another one than the rest); float32 where there are none."""
    found = dict.fromkeys(weight.dtype for weight in encoder.parameters() if weight.is_floating_point())
    return list(found) or [torch.float32]


def dtype_problem(encoder: nn.Module, states: Tensor, given: str, wanted: str) -> str:
    """A sentence if states are of a dtype that no weight has; else empty."""
    dtypes = floating_dtypes(encoder)
    if states.dtype in dtypes:
        return ""
    return f"{given} returned {described(states)}; {wanted}. {dtype_hint(dtypes)}"


def dtype_hint(dtypes: Sequence[torch.dtype]) -> str:
    """What to do where an output has another dtype than all weights."""
    return f"Its weights are of {' and '.join(map(dtype_text, dtypes))}; keep to that."
