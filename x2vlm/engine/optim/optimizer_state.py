"""The optimizer's state by the names of parameters: their order in the model may change between stop and resume."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from torch import nn
from torch.optim import Optimizer

from x2vlm.weights.read_weights import CheckpointError

NAMES = "param_names"  # torch's own key, in every group of an optimizer's state
_PER_GROUP = ("base_values", "_last_value")  # what MMEngine's schedulers keep for every group


def parameter_names(model: nn.Module, optimizer: Optimizer) -> list[list[str]]:
    """The names of an optimizer's parameters, by group. What is not in the model is named by its place."""
    names = {parameter: name for name, parameter in model.named_parameters()}
    return [
        [
            names.get(p, f"(outside the model) group {number}, parameter {place}")
            for place, p in enumerate(group["params"])
        ]
        for number, group in enumerate(optimizer.param_groups)
    ]


def with_names(state: Mapping[str, Any], model: nn.Module, optimizer: Optimizer) -> dict[str, Any]:
    """An optimizer's state dict in which every group says the names of its parameters."""
    names = parameter_names(model, optimizer)
    groups = [{**group, NAMES: own} for group, own in zip(state["param_groups"], names, strict=True)]
    return {**state, "param_groups": groups}


def in_own_order(content: Mapping[str, Any], model: nn.Module, optimizer: Optimizer, source: Any) -> dict[str, Any]:
    """A checkpoint whose optimizer and schedulers have the order that this run's optimizer has.

    Torch matches states by their number. Here they are matched by name; groups are matched by what is in them.

    Args:
        content: The checkpoint, with ``state_dict``, ``optimizer`` and ``param_schedulers``. One that says no names,
            as older versions wrote it, has the order of its own ``state_dict``.
        model: This run's model.
        optimizer: Over the parameters of ``model``.
        source: The checkpoint's path, for messages.

    Raises:
        CheckpointError: If a parameter is missing in one of them, or groups are divided differently.
    """
    if "optimizer" not in content:
        return dict(content)
    saved = content["optimizer"]
    ours, theirs = parameter_names(model, optimizer), _saved_names(content, model, optimizer)
    if theirs is None:
        raise CheckpointError(
            f"{source} does not say which parameter each state of its optimizer belongs to, and this config trains "
            f"{_count(ours)} parameters where it has {sum(len(g['params']) for g in saved['param_groups'])}. "
            "Go on with the config and the version it was written with."
        )
    if problems := _differences(theirs, ours):
        lines = "".join(f"\n  {problem}" for problem in problems)
        raise CheckpointError(
            f"the optimizer of {source} does not fit this config: a run goes on with the parameters and groups it was "
            f"begun with.{lines}\nTo begin a new run from its weights alone: load_from."
        )
    order = [[set(group) for group in theirs].index(set(group)) for group in ours]
    numbers = {n: i for names, g in zip(theirs, saved["param_groups"], strict=True) for n, i in _numbered(names, g)}
    states, groups, begin = dict(saved["state"]), [], 0
    for number in numbers.values():
        states.pop(number, None)  # what is left belongs to no parameter
    for names, place in zip(ours, order, strict=True):
        given = {key: value for key, value in saved["param_groups"][place].items() if key != NAMES}
        groups.append({**given, "params": list(range(begin, begin + len(names)))})
        there = ((number, numbers[name]) for number, name in enumerate(names, start=begin))
        states |= {number: saved["state"][old] for number, old in there if old in saved["state"]}
        begin += len(names)
    content = {**content, "optimizer": {**saved, "state": states, "param_groups": groups}}
    if "param_schedulers" in content:
        content["param_schedulers"] = _scheduled(content["param_schedulers"], order)
    return content


def _numbered(names: Sequence[str], group: Mapping[str, Any]) -> Iterable[tuple[str, int]]:
    return zip(names, group["params"], strict=True)


def _count(groups: Iterable[Sequence[str]]) -> int:
    return sum(map(len, groups))


def _saved_names(content: Mapping[str, Any], model: nn.Module, optimizer: Optimizer) -> list[list[str]] | None:
    """The names in a checkpoint, by group, as this model calls the parameters; None where they are not known."""
    groups, first = content["optimizer"]["param_groups"], _first_names(model)
    if all(NAMES in group for group in groups):
        return [[first.get(name, name) for name in group[NAMES]] for group in groups]
    ours = parameter_names(model, optimizer)
    known = dict.fromkeys(first.get(name, name) for name in content["state_dict"])
    named = {group.get("name"): set(own) for group, own in zip(optimizer.param_groups, ours, strict=True)}
    if None not in named and len(named) == len(groups) == len({group.get("name") for group in groups}):
        found = [[name for name in known if name in named.get(group.get("name"), ())] for group in groups]
    else:  # groups without names of their own have been made in the order of the model
        trained = {name for own in ours for name in own}
        rest = iter(name for name in known if name in trained)
        found = [[name for _, name in zip(group["params"], rest, strict=False)] for group in groups]
    fits = all(len(own) == len(group["params"]) for own, group in zip(found, groups, strict=True))
    return found if fits and _count(found) == _count(ours) else None


def _first_names(model: nn.Module) -> dict[str, str]:
    """The name that a parameter with several has in an optimizer, by each of them."""
    first = {parameter: name for name, parameter in model.named_parameters()}
    return {name: first[parameter] for name, parameter in model.named_parameters(remove_duplicate=False)}


def _differences(theirs: Sequence[Sequence[str]], ours: Sequence[Sequence[str]]) -> list[str]:
    """What does not fit, a sentence each; at most a few names of every kind."""
    old, new = ({name: place for place, group in enumerate(groups) for name in group} for groups in (theirs, ours))
    problems = []
    if lost := [name for name in old if name not in new]:
        problems.append(f"it trained {_listed(lost)}, which this config does not train.")
    if added := [name for name in new if name not in old]:
        problems.append(f"it has no state for {_listed(added)}.")
    moved = []
    for group in ours:
        before = [old[name] for name in group if name in old]
        if before and (usual := max(set(before), key=before.count)) is not None:
            moved += [name for name in group if name in old and old[name] != usual]
    if moved or (not problems and len(theirs) != len(ours)):
        moved = moved or [group[0] for group in ours]
        problems.append(f"parameters are divided into other groups (optim_wrapper.paramwise_cfg): {_listed(moved)}.")
    return problems


def _listed(names: Sequence[str], most: int = 4) -> str:
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


def _scheduled(states: Any, order: Sequence[int]) -> Any:
    """The states of schedulers with their values for each group in this order of the groups."""
    if isinstance(states, Mapping):
        return {
            key: [value[place] for place in order]
            if key in _PER_GROUP and isinstance(value, (list, tuple)) and len(value) == len(order)
            else _scheduled(value, order)
            for key, value in states.items()
        }
    return [_scheduled(state, order) for state in states] if isinstance(states, (list, tuple)) else states
