"""Checks across a config: objectives of streams and model, streams of the loop, image sizes, numbers of frames."""

from collections.abc import Callable, Iterator
from types import NoneType
from typing import Any

from x2vlm.argument_checks import arguments, suggestion
from x2vlm.building import ConfigError
from x2vlm.config.schema import PartSchema, part_schema_at

ResolveType = Callable[[Any, PartSchema], Any]
SIZE_NAMES = ("size", "image_size")
FRAMES = ("num_frames",)


def cross_check_problems(tree: dict[str, Any], resolve_type: ResolveType) -> Iterator[str]:
    """Problems as ``"path: sentence"``.

    Args:
        tree: The config as plain dicts and lists.
        resolve_type: ``(type, schema) -> class``; raises ConfigError where there is none.
    """
    model = tree.get("model") if isinstance(tree.get("model"), dict) else {}
    for name, stream in members(tree, "streams"):
        yield from _objective_problems(name, stream.get("objectives"), model.get("objectives"))
        yield from _caption_problems(name, stream, model.get("objectives"))
    yield from _loop_problems(tree)
    image_size = _as_size(_value(model.get("vision_encoder"), ("model", "vision_encoder"), SIZE_NAMES, resolve_type))
    num_frames = _value(model, ("model",), FRAMES, resolve_type)
    for group in ("streams", "evaluations"):
        if not isinstance(tree.get(group), (dict, NoneType)):
            yield f"{group}: expected a dict keyed by name, not {tree[group]!r}."
        for name, member in members(tree, group):
            for path, dataset in _datasets(member.get("dataset"), f"{group}.{name}.dataset"):
                steps = [(dataset, ("dataset",)), *((step, ("pipeline", "0")) for step in dataset["pipeline"])]
                yield from _size_problems(path, [_value(*step, SIZE_NAMES, resolve_type) for step in steps], image_size)
                yield from _frame_problems(
                    path, [_value(*step, FRAMES, resolve_type) for step in steps[1:]], num_frames
                )


def doubts(tree: dict[str, Any]) -> Iterator[str]:
    """What works and is likely not meant: sentences to warn with.

    Args:
        tree: The config as plain dicts and lists.
    """
    model = tree.get("model") if isinstance(tree.get("model"), dict) else {}
    known, streams = model.get("objectives"), dict(members(tree, "streams"))
    if not isinstance(known, dict) or not streams:
        return
    active = {name: one for name, one in streams.items() if one.get("weight", 1.0) != 0}
    if any(one.get("objectives") is None for one in active.values()):
        return  # such a stream runs all of them
    for name in known:
        if not any(name in one["objectives"] for one in active.values()):
            yield f"model.objectives.{name} is run by no stream ({', '.join(active)}): it learns nothing."


def members(tree: dict[str, Any], group: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """The members of a group by name, those that are dicts."""
    group_value = tree.get(group)
    for name, member in group_value.items() if isinstance(group_value, dict) else ():
        if isinstance(member, dict):
            yield name, member


def _objective_problems(stream: str, objectives: Any, names: Any) -> Iterator[str]:
    path = f"streams.{stream}.objectives"
    if isinstance(objectives, str):
        yield f"{path}: expected a list of names, not '{objectives}'. On the command line: {path}=[{objectives}]."
    elif isinstance(objectives, (list, tuple, dict)) and not objectives:
        yield f"{path}: there are none. Name some, or remove the stream: streams.pop('{stream}')."
    elif isinstance(objectives, (list, tuple, dict)) and isinstance(names, dict):
        for name in objectives:
            factor = objectives[name] if isinstance(objectives, dict) else 1
            if not isinstance(factor, (int, float)) or factor < 0:
                yield f"{path}.{name}: {factor!r} is no factor of a loss; expected a number of 0 or more."
            if name not in names:
                listed = ", ".join(sorted(names))
                yield f"{path}: '{name}' is not one of this model's objectives: {listed}.{suggestion(name, names)}"


def _caption_problems(name: str, stream: dict[str, Any], parts: Any) -> Iterator[str]:
    """Captions that are collated for one way of learning and learned by another."""
    collate, parts = stream.get("collate"), parts if isinstance(parts, dict) else {}
    if not isinstance(collate, dict) or _type_name(collate) != "CaptionCollate":
        return
    wanted = stream.get("objectives")
    kinds = {key: _type_name(part) for key, part in parts.items() if wanted is None or key in wanted}
    masked = collate.get("masked", "twice")
    for key, kind in kinds.items():
        if kind in ("CaptionGeneration", "NextTokenCaption") and (kind == "NextTokenCaption") != (masked == "next"):
            yield (
                f"streams.{name}.collate.masked: it is {masked!r}, but model.objectives.{key} is {kind}. "
                "masked='next' and NextTokenCaption belong together."
            )


def _type_name(part: Any) -> str:
    type_ = part.get("type") if isinstance(part, dict) else None
    return str(getattr(type_, "__name__", type_)).rpartition(".")[2]


def _loop_problems(tree: dict[str, Any]) -> Iterator[str]:
    """Streams that the training loop names must exist."""
    loop = tree.get("train_cfg")
    plan = loop.get("plan") if isinstance(loop, dict) else None
    plan = plan if isinstance(plan, dict) else {}
    turns = plan.get("turns") if isinstance(plan.get("turns"), dict) else {}
    references = {
        f"plan.turns.{name}.streams": turn.get("streams") for name, turn in turns.items() if isinstance(turn, dict)
    }
    references |= {f"plan.updates[{i}]": group for i, group in enumerate(plan.get("updates") or ())}
    if isinstance(loop, dict):
        references |= {"global_batch": loop.get("global_batch"), "epoch_of": [loop.get("epoch_of")]}
    stream_names = dict(members(tree, "streams"))
    for path, names in references.items():
        for name in names or ():
            if name is not None and name not in stream_names:
                listed = ", ".join(stream_names)
                yield f"train_cfg.{path}: '{name}' is not one of the streams: {listed}.{suggestion(name, stream_names)}"


def _size_problems(path: str, steps: list[Any], expected: tuple[int, int] | None) -> Iterator[str]:
    """The last size that a data set or a step of its pipeline sets must be that of the vision encoder."""
    sizes = [size for step in steps if (size := _as_size(step))]
    if expected and sizes and sizes[-1] != expected:
        size_text, rows, columns = "x".join(map(str, sizes[-1])), *expected
        expected_text = rows if rows == columns else f"{rows}x{columns}"
        yield (
            f"{path}: data gives images of {size_text} but vision_encoder.image_size is {expected_text}. "
            "Set both to the same size."
        )


def _frame_problems(path: str, steps: list[Any], most: Any) -> Iterator[str]:
    """Clips must not have more frames than the model has positions for."""
    num_frames = max((frames for frames in steps if isinstance(frames, int)), default=0)
    if isinstance(most, int) and num_frames > most:
        yield f"{path}: clips have {num_frames} frames but model.num_frames is {most}. Set it to {num_frames} or more."


def _value(part: Any, keys: tuple[str, ...], names: tuple[str, ...], resolve_type: ResolveType) -> Any:
    """The value, or default, of the first of these arguments that a part has; None if it has none of them."""
    if not isinstance(part, dict) or "type" not in part:
        return None
    try:
        named = arguments(resolve_type(part["type"], part_schema_at(keys)))[0]
    except ConfigError:  # reported where the part was checked
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
