"""What one step does: which streams take part, with which objectives, and in how many updates."""

import random
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from x2vlm.building import suggestion
from x2vlm.data.sampler import derive_seed

Objectives = Sequence[str] | Mapping[str, float]
"""Names of a stream's objectives, or their weights by name."""
PASSES = ("together", "by_stream")


def is_video(stream: str) -> bool:
    """Whether a stream is one of videos, by its name: ``video``, ``video_...``."""
    return stream.split("_")[0] == "video"


def in_passes(streams: Iterable[str], passes: str) -> list[list[str]]:
    """Which streams of an update go forward and backward together.

    Args:
        streams: Names, in the order of the backward passes.
        passes: ``together`` (but videos, whose activations are the largest) or ``by_stream``.
    """
    names = list(streams)
    if passes == "by_stream":
        return [[name] for name in names]
    rest = [name for name in names if not is_video(name)]
    return [[name] for name in names if is_video(name)] + ([rest] if rest else [])


class StepPlan:
    """Streams and objectives of every step, as a function of (seed, iteration) and so the same in every process.

    Args:
        streams: Objectives of each stream by its name.
        turns: Alternatives by name, of which every step takes one:
            ``dict(clean=dict(share=0.15, streams=("image_clean", "region")), noisy=dict(share=0.85, streams=("image",
            "region"), without=("itm",)))``. ``share`` is its probability, ``streams`` are those that take part (all
            where it does not say), ``without`` are objectives that are off in it. None: every step is like the others.
        until: Objectives that are given up, with the iteration from which on they are off: ``dict(itm=200_000)``.
        updates: Streams in groups, an update of the weights for each group, in this order:
            ``(("text",), ("region", "image"))``. None: one update from all streams.
        absent: Streams that the config knows and that are switched off (``weight=0``): they may be named all the same.

    Raises:
        ValueError: If a name is unknown, shares do not add up to 1, a turn would leave nothing to train on, or a stream
            belongs to no update or to two.
    """

    def __init__(
        self,
        streams: Mapping[str, Objectives],
        turns: Mapping[str, Mapping[str, Any]] | None = None,
        until: Mapping[str, int] | None = None,
        updates: Sequence[Sequence[str]] | None = None,
        absent: Iterable[str] = (),
    ) -> None:
        absent = set(absent)
        self.streams = dict(streams)
        self.turns = {name: _turn(name, turn, self.streams, absent) for name, turn in (turns or {}).items()}
        total = sum(share for share, _, _ in self.turns.values())
        if self.turns and abs(total - 1) > 1e-6:
            raise ValueError(f"turns: the shares of {', '.join(self.turns)} add up to {total:g}; expected 1.")
        self.until = dict(until or {})
        groups = [[name for name in group if name not in absent] for group in updates or [self.streams]]
        self.updates = [tuple(group) for group in groups if group]
        _check_names("until", self.until, {name for known in self.streams.values() for name in known}, "objective")
        grouped = [name for group in self.updates for name in group]
        _check_names("updates", grouped, self.streams, "stream")
        if sorted(grouped) != sorted(self.streams):
            raise ValueError(f"updates: every stream belongs to one group; the streams are {', '.join(self.streams)}.")

    def turn(self, seed: int, iteration: int) -> str | None:
        """The name of the turn that a step takes; None where there are no turns."""
        if not self.turns:
            return None
        drawn, reached = random.Random(derive_seed(seed, "turn", iteration)).random(), 0.0
        for name, (share, _, _) in self.turns.items():
            reached += share
            if drawn < reached:
                return name
        return name  # shares that add up to a hair less than 1

    def at(self, seed: int, iteration: int) -> list[dict[str, Objectives]]:
        """The updates of a step in order, each as the objectives of its streams by name.

        Streams whose objectives are all off are left out, and so are updates without streams.

        Raises:
            ValueError: If nothing is left.
        """
        off = {name for name, last in self.until.items() if iteration >= last}
        name = self.turn(seed, iteration)
        _, present, without = self.turns[name] if name else (1.0, tuple(self.streams), ())
        active = {name: _left(self.streams[name], off | set(without)) for name in present}
        updates = [{name: active[name] for name in group if active.get(name)} for group in self.updates]
        if not any(updates):
            taken = f"its turn '{name}'" if name else "it"
            raise ValueError(f"iteration {iteration + 1}: {taken} has no objective left; those given up: {self.until}.")
        return [update for update in updates if update]


def _turn(
    name: str, turn: Mapping[str, Any], streams: Mapping[str, Objectives], absent: set[str]
) -> tuple[float, tuple[str, ...], tuple[str, ...]]:
    path = f"turns.{name}"
    _check_names(path, turn, ("share", "streams", "without"), "key")
    share = turn.get("share", 0)
    present = tuple(one for one in turn.get("streams") or streams if one not in absent)
    if not 0 < share <= 1:
        raise ValueError(f"{path}: share is {share}; expected a probability above 0.")
    _check_names(f"{path}.streams", present, streams, "stream")
    without = tuple(turn.get("without", ()))
    _check_names(f"{path}.without", without, {one for known in streams.values() for one in known}, "objective")
    if not any(_left(streams[one], set(without)) for one in present):
        raise ValueError(f"{path}: none of its streams has an objective left.")
    return share, present, without


def _left(objectives: Objectives, off: set[str]) -> Objectives:
    if isinstance(objectives, Mapping):
        return {name: weight for name, weight in objectives.items() if name not in off}
    return tuple(name for name in objectives if name not in off)


def _check_names(path: str, given: Iterable[str], known: Iterable[str], kind: str) -> None:
    known = list(known)
    for name in given:
        if name not in known:
            listed = ", ".join(sorted(known))
            raise ValueError(f"{path}: '{name}' is no {kind} of this run: {listed}.{suggestion(name, known)}")
