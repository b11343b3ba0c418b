"""Mistakes that show only when two places of a config are compared: objectives, image sizes, numbers of frames."""

from collections.abc import Callable, Iterator
from types import NoneType
from typing import Any

from x2vlm.building import ConfigError
from x2vlm.config.roles import Role, role_at
from x2vlm.signatures import arguments, suggestion

Find = Callable[[Any, Role], Any]
SIZE_NAMES = ("size", "image_size")
FRAMES = ("num_frames",)


def relation_problems(tree: dict[str, Any], find: Find) -> Iterator[str]:
    """Problems as ``"path: sentence"``.

    Args:
        tree: The config as plain dicts and lists.
        find: ``(type, role) -> class``; raises ConfigError where there is none.
    """
    model = tree.get("model") if isinstance(tree.get("model"), dict) else {}
    for name, stream in members(tree, "streams"):
        yield from _objective_problems(name, stream.get("objectives"), model.get("objectives"))
    yield from _loop_problems(tree)
    image_size = _as_size(_value(model.get("vision_encoder"), ("model", "vision_encoder"), SIZE_NAMES, find))
    num_frames = _value(model, ("model",), FRAMES, find)
    for group in ("streams", "evaluations"):
        if not isinstance(tree.get(group), (dict, NoneType)):
            yield f"{group}: expected a dict keyed by name, not {tree[group]!r}."
        for name, member in members(tree, group):
            for path, dataset in _datasets(member.get("dataset"), f"{group}.{name}.dataset"):
                steps = [(dataset, ("dataset",)), *((step, ("pipeline", "0")) for step in dataset["pipeline"])]
                yield from _size_problems(path, [_value(*step, SIZE_NAMES, find) for step in steps], image_size)
                yield from _frame_problems(path, [_value(*step, FRAMES, find) for step in steps[1:]], num_frames)


def members(tree: dict[str, Any], group: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """The members of a group by name, as far as they are the dicts they should be."""
    found = tree.get(group)
    for name, member in found.items() if isinstance(found, dict) else ():
        if isinstance(member, dict):
            yield name, member


def _objective_problems(stream: str, wanted: Any, known: Any) -> Iterator[str]:
    path = f"streams.{stream}.objectives"
    if isinstance(wanted, str):
        yield f"{path}: expected a list of names, not '{wanted}'. On the command line: {path}=[{wanted}]."
    elif isinstance(wanted, (list, tuple, dict)) and not wanted:
        yield f"{path}: there are none. Name some, or remove the stream: streams.pop('{stream}')."
    elif isinstance(wanted, (list, tuple, dict)) and isinstance(known, dict):
        for name in wanted:
            factor = wanted[name] if isinstance(wanted, dict) else 1
            if not isinstance(factor, (int, float)) or factor < 0:
                yield f"{path}.{name}: {factor!r} is no factor of a loss; expected a number of 0 or more."
            if name not in known:
                listed = ", ".join(sorted(known))
                yield f"{path}: '{name}' is not one of this model's objectives: {listed}.{suggestion(name, known)}"


def _loop_problems(tree: dict[str, Any]) -> Iterator[str]:
    """Streams that the training loop names must be there."""
    loop = tree.get("train_cfg")
    plan = loop.get("plan") if isinstance(loop, dict) else None
    plan = plan if isinstance(plan, dict) else {}
    turns = plan.get("turns") if isinstance(plan.get("turns"), dict) else {}
    places = {f"plan.turns.{name}.streams": one.get("streams") for name, one in turns.items() if isinstance(one, dict)}
    places |= {f"plan.updates[{i}]": group for i, group in enumerate(plan.get("updates") or ())}
    if isinstance(loop, dict):
        places |= {"global_batch": loop.get("global_batch"), "epoch_of": [loop.get("epoch_of")]}
    known = dict(members(tree, "streams"))
    for place, names in places.items():
        for name in names or ():
            if name is not None and name not in known:
                listed = ", ".join(known)
                yield f"train_cfg.{place}: '{name}' is not one of the streams: {listed}.{suggestion(name, known)}"


def _size_problems(path: str, steps: list[Any], expected: tuple[int, int] | None) -> Iterator[str]:
    """What sets a size last, the data set itself or a step of its pipeline, must set that of the vision encoder."""
    sizes = [size for step in steps if (size := _as_size(step))]
    if expected and sizes and sizes[-1] != expected:
        given, rows, columns = "x".join(map(str, sizes[-1])), *expected
        wanted = rows if rows == columns else f"{rows}x{columns}"
        yield (
            f"{path}: data gives images of {given} but vision_encoder.image_size is {wanted}. "
            "Set both to the same size."
        )


def _frame_problems(path: str, steps: list[Any], most: Any) -> Iterator[str]:
    """Clips must not have more frames than the model has positions for."""
    given = max((frames for frames in steps if isinstance(frames, int)), default=0)
    if isinstance(most, int) and given > most:
        yield f"{path}: clips have {given} frames but model.num_frames is {most}. Set it to {given} or more."


def _value(part: Any, place: tuple[str, ...], names: tuple[str, ...], find: Find) -> Any:
    """What a part is given, or has by default, for the first of these arguments that it has; None if for none."""
    if not isinstance(part, dict) or "type" not in part:
        return None
    try:
        named = arguments(find(part["type"], role_at(place)))[0]
    except ConfigError:  # told already, where the part was checked
        return None
    name = next((name for name in names if name in named), None)
    return part.get(name, named[name].default) if name else None


def _as_size(value: Any) -> tuple[int, int] | None:
    """Rows and columns."""
    if isinstance(value, int):
        return value, value
    return tuple(value) if isinstance(value, (list, tuple)) and len(value) == 2 else None


def _datasets(node: Any, path: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every dict with a ``pipeline`` at or under a node: data sets may wrap data sets."""
    if isinstance(node, dict):
        if isinstance(node.get("pipeline"), (list, tuple)):
            yield f"{path}.pipeline", node
        for name, value in node.items():
            if name != "pipeline":
                yield from _datasets(value, f"{path}.{name}")
    elif isinstance(node, (list, tuple)):
        for index, item in enumerate(node):
            yield from _datasets(item, f"{path}[{index}]")
