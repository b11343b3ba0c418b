"""What an objective must be and give: known when the model is built, and looked at in every step.

The protocol itself is in :mod:`x2vlm.objectives.base`.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import fields
from math import isfinite
from numbers import Integral, Real
from typing import Any

from mmengine.logging import print_log
from torch import Tensor, nn

from x2vlm.building import suggestion
from x2vlm.data.batch import Batch
from x2vlm.models.fusion.requests import FusionRequest
from x2vlm.models.input_watch import watch, write_problem
from x2vlm.models.module_checks import described, module_problems
from x2vlm.models.needs import Needs
from x2vlm.models.outputs import Context, TextStates
from x2vlm.part_errors import ConfigError, PartError, is_foreign, naming_the_part


def check_protocol(name: str, objective: nn.Module) -> nn.Module:
    """The objective, unless it lacks declared needs, requests or losses.

    Raises:
        ConfigError: If it does not.
    """
    if problem := _protocol_problem(objective):
        raise ConfigError(problem, f"model.objectives.{name}")
    return objective


def _protocol_problem(objective: nn.Module) -> str:
    title = type(objective).__name__
    if is_foreign(objective) and (problems := module_problems(objective)):
        return " ".join(problems)
    if not isinstance(getattr(objective, "needs", None), Needs) or not hasattr(objective, "losses"):
        return (
            f"{title} is not an objective: it lacks `needs` (in the place of the former `requires`) "
            "or `losses(encoded, fused)` (of `forward(encoded)`). Derive it from x2vlm.objectives.base.Objective; "
            "docs/plugins.md shows how."
        )
    if not hasattr(objective, "requests") or not hasattr(objective, "weight"):
        return f"{title} lacks requests(encoded) or weight. Derive it from x2vlm.objectives.base.Objective."
    if getattr(type(objective).losses, "__isabstractmethod__", False):
        return f"{title} lacks losses(encoded, fused), which gives its losses by name."
    if objective.needs == Needs() and hasattr(objective, "requires"):
        return (
            f"{title} has `requires`, which nothing reads, and no `needs`. Name what losses() and requests() read: "
            "needs = Needs(text=True, context=True, features=True), of x2vlm.models.needs."
        )
    if objective.needs == Needs() and is_foreign(objective):
        print_log(
            f"{title}.needs is empty: it is given neither texts nor contexts, but where another objective needs them.",
            logger="current",
            level=30,
        )
    weight = objective.weight
    if not isinstance(weight, (Real, Tensor)) or (isinstance(weight, Real) and not isfinite(weight)):
        return f"{title}.weight is {weight!r}; expected a number, the factor of its losses."
    if isinstance(objective.needs.batch, str):
        return f"{title}.needs has batch={objective.needs.batch!r}; expected a tuple: ({objective.needs.batch!r},)."
    known = [field.name for field in fields(Batch)]
    for wanted in objective.needs.batch:
        if wanted not in known:
            return (
                f"{title}.needs names batch '{wanted}', which no Batch has.{suggestion(wanted, known)} "
                f"Fields: {', '.join(known)}."
            )
    return ""


def requests_of(name: str, objective: Any, encoded: Any) -> list[FusionRequest]:
    """The fusion requests of an objective for a batch.

    Raises:
        PartError: If it gives anything else.
    """
    given = objective.requests(encoded)
    requests = list(given) if isinstance(given, Iterable) and not isinstance(given, Tensor) else [given]
    if not all(isinstance(one, FusionRequest) for one in requests):
        raise PartError(
            f"model.objectives.{name}: {type(objective).__name__}.requests returned {described(given)}; expected a "
            "list of FusionRequest, such as [FusionRequest(encoded.text, encoded.context, at=0)]; empty for none."
        )
    if is_foreign(objective):
        for request in requests:
            if problem := _request_problem(request):
                raise PartError(
                    f"model.objectives.{name}: {type(objective).__name__}.requests gave a FusionRequest with {problem}"
                )
    return requests


def _request_problem(request: FusionRequest) -> str:
    """What is wrong with the fields of a request, as the end of a sentence; empty where nothing is."""
    text, context, at = request.text, request.context, request.at
    if not isinstance(text, TextStates):
        return f"text={described(text)}; expected TextStates, such as encoded.text."
    if context is not None and not isinstance(context, Context):
        return f"context={described(context)}; expected a Context, such as encoded.context, or None."
    length, texts = text.embeds.shape[1], len(text if request.texts is None else request.texts)
    contexts = texts if context is None else len(context if request.contexts is None else request.contexts)
    if contexts != texts:
        return f"{texts} texts and {contexts} contexts; expected as many. `texts` and `contexts` choose among them."
    if isinstance(at, Integral) and (not isinstance(at, int) or not 0 <= at < length):
        return f"at={at!r}; expected a position of texts of {length} tokens, from 0, as int."
    if not isinstance(at, int) and at is not None and (getattr(at, "ndim", 0) != 2 or len(at) != texts):
        given = list(at.shape) if hasattr(at, "shape") else type(at).__name__
        return f"at={given}; expected a position, or positions [{texts}, M], -1 where a text has fewer than M."
    return ""


def loss_problem(name: str, objective: Any, result: Any) -> str:
    """What is wrong with what an objective's ``losses`` returned; empty where nothing is."""
    given = f"model.objectives.{name}: {type(objective).__name__}.losses returned"
    wanted = f"expected named scalars, such as {{'loss_{name}': loss}}."
    if not isinstance(result, dict) or not all(isinstance(key, str) for key in result):
        return f"{given} {described(result)}; {wanted}"
    for key, value in result.items():
        if not isinstance(value, Tensor) or value.numel() != 1:
            return f"{given} {described(value)} as '{key}'; {wanted} Take a mean, as torch.Tensor.mean does."
        if "loss" in key and not value.is_floating_point():
            return f"{given} {described(value)} as '{key}'; {wanted} A loss is of floats, from which gradients flow."
    if not any("loss" in key for key in result):
        keys = ", ".join(map(repr, result)) or "nothing"
        return f"{given} {keys}: no name has 'loss' in it, so nothing would be learned; {wanted}"
    return ""


def doubled_problem(name: str, objective: Any, found: Iterable[str], before: Iterable[str], stream: str) -> str:
    """A sentence if a loss has the name of one that another objective of the stream gave; else empty."""
    doubled = [key for key in found if "loss" in key and key in before]
    if not doubled:
        return ""
    cure = "Give it a name of its own." if is_foreign(objective) else "Leave one out of the stream's objectives."
    return (
        f"model.objectives.{name}: {type(objective).__name__}.losses returned '{doubled[0]}', which another objective "
        f"of stream '{stream}' has returned already: one of the two would be lost. {cure}"
    )


def check_losses(name: str, objective: Any, found: Any, before: Iterable[str], stream: str) -> None:
    """Check what an objective's ``losses`` returned, and that its names are not those of another objective.

    Raises:
        PartError: If something is wrong with it.
    """
    problem = loss_problem(name, objective, found) or doubled_problem(name, objective, found, before, stream)
    if problem:
        raise PartError(problem)


@contextmanager
def keeping_inputs(name: str, objective: Any, encoded: Any) -> Iterator[None]:
    """Around the work of a plugin's objective: the encoded batch is also read by others, and must stay as it is.

    Raises:
        PartError: If it wrote into a tensor of it.
    """
    if not is_foreign(objective):
        yield
        return
    watched = watch(encoded=encoded)
    yield
    if problem := write_problem(objective, watched):
        raise PartError(f"model.objectives.{name}: {problem}")


@contextmanager
def naming_the_objective(objective: Any, where: str) -> Iterator[None]:
    """As :func:`~x2vlm.building.naming_the_part`, and with the needs that are not declared where it stumbles over None.

    Raises:
        PartError: In the place of what a plugin's objective raised.
    """
    try:
        with naming_the_part(objective, where):
            yield
    except PartError as error:
        cause = error.__cause__
        missing = _describe_missing_needs(objective.needs)
        if isinstance(cause, (AttributeError, TypeError)) and "NoneType" in str(cause) and missing:
            raise PartError(f"{error}. {missing}") from cause
        raise


def _describe_missing_needs(needs: Needs) -> str:
    """What an objective with these needs finds as None, as a sentence."""
    read = {
        "text": needs.text,
        "masked_text": needs.masked_text,
        "context": needs.reads_context,
        "text.feat, context.feat and temperature": needs.features,
        "masked_image": needs.masked_image,
    }
    missing = ", ".join(f"encoded.{name}" for name, is_read in read.items() if not is_read)
    return f"Its needs do not name, so that it is None: {missing}." if missing else ""
