"""Plan of the steps: streams and objectives of each step, its updates, and the passes of an update."""

import random
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from x2vlm.building import suggestion
from x2vlm.data.sampler import derive_seed

Objectives = Sequence[str] | Mapping[str, float]
"""Names of a stream's objectives, or factors of their losses by name."""
PASSES = ("together", "by_stream")


def is_video_stream(stream: str) -> bool:
    """Whether the name of a stream is ``video`` or ``video_...``."""
    return stream.split("_")[0] == "video"


def split_into_passes(streams: Iterable[str], passes: str) -> list[list[str]]:
    """Split the streams of an update into forward and backward passes.

    Args:
        streams: Names, in the order of the backward passes.
        passes: ``together`` (except videos, whose activations are the largest: one pass each) or ``by_stream``.
    """
    names = list(streams)
    if passes == "by_stream":
        return [[name] for name in names]
    rest = [name for name in names if not is_video_stream(name)]
    return [[name] for name in names if is_video_stream(name)] + ([rest] if rest else [])


class StepPlan:
    """Streams and objectives of every step, as a function of (seed, iteration) and so the same in every process.

    Args:
        streams: Objectives by stream.
        turns: Alternatives by name, one of which is drawn for every step:
            ``dict(clean=dict(share=0.15, streams=("image_clean", "region")), noisy=dict(share=0.85, streams=("image",
            "region"), without=("itm",)))``. ``share`` is its probability, ``streams`` are those that take part (all by
            default), ``without`` are objectives that are off. None: all steps are alike.
        until: Objectives that end early, with the first iteration without them: ``dict(itm=200_000)``.
        updates: Groups of streams, with an update of the weights after each group, in this order:
            ``(("text",), ("region", "image"))``. None: one update from all streams.
        switched_off: Streams of the config with ``weight=0``, which are not trained and may be named all the same.

    Raises:
        ValueError: If a name is unknown, shares do not add up to 1, a turn has no objective, or a stream belongs to no
            update or to two.
    """

    def __init__(
        self,
        streams: Mapping[str, Objectives],
        turns: Mapping[str, Mapping[str, Any]] | None = None,
        until: Mapping[str, int] | None = None,
        updates: Sequence[Sequence[str]] | None = None,
        switched_off: Iterable[str] = (),
    ) -> None:
        switched_off = set(switched_off)
        self.streams = dict(streams)
        self.turns = {name: _turn(name, turn, self.streams, switched_off) for name, turn in (turns or {}).items()}
        total = sum(share for share, _, _ in self.turns.values())
        if self.turns and abs(total - 1) > 1e-6:
            raise ValueError(f"turns: the shares of {', '.join(self.turns)} add up to {total:g}; expected 1.")
        self.until = dict(until or {})
        groups = [[name for name in group if name not in switched_off] for group in updates or [self.streams]]
        self.updates = [tuple(group) for group in groups if group]
        _check_names("until", self.until, _all_objectives(self.streams), "objective")
        grouped = [name for group in self.updates for name in group]
        _check_names("updates", grouped, self.streams, "stream")
        if sorted(grouped) != sorted(self.streams):
            raise ValueError(f"updates: every stream belongs to one group; the streams are {', '.join(self.streams)}.")

    def turn(self, seed: int, iteration: int) -> str | None:
        """The turn drawn for a step, by name; None where there are no turns."""
        if not self.turns:
            return None
        drawn, cumulative = random.Random(derive_seed(seed, "turn", iteration)).random(), 0.0
        for name, (share, _, _) in self.turns.items():
            cumulative += share
            if drawn < cumulative:
                return name
        return name  # by rounding, shares may sum to slightly less than 1

    def at(self, seed: int, iteration: int) -> list[dict[str, Objectives]]:
        """The updates of a step in order, each as objectives by stream.

        Streams without an active objective are left out, and so are updates without streams.

        Raises:
            ValueError: If no objective is active.
        """
        off = {name for name, last in self.until.items() if iteration >= last}
        name = self.turn(seed, iteration)
        _, present, without = self.turns[name] if name else (1.0, tuple(self.streams), ())
        active = {name: _active(self.streams[name], off | set(without)) for name in present}
        updates = [{name: active[name] for name in group if active.get(name)} for group in self.updates]
        if not any(updates):
            taken = f"its turn '{name}'" if name else "it"
            raise ValueError(f"iteration {iteration + 1}: {taken} has no objective left; those given up: {self.until}.")
        return [update for update in updates if update]


def _turn(
    name: str, turn: Mapping[str, Any], streams: Mapping[str, Objectives], switched_off: set[str]
) -> tuple[float, tuple[str, ...], tuple[str, ...]]:
    """Share, streams and switched-off objectives of a turn, checked."""
    path = f"turns.{name}"
    _check_names(path, turn, ("share", "streams", "without"), "key")
    share = turn.get("share", 0)
    present = tuple(stream for stream in turn.get("streams") or streams if stream not in switched_off)
    if not 0 < share <= 1:
        raise ValueError(f"{path}: share is {share}; expected a probability above 0.")
    _check_names(f"{path}.streams", present, streams, "stream")
    without = tuple(turn.get("without", ()))
    _check_names(f"{path}.without", without, _all_objectives(streams), "objective")
    if not any(_active(streams[stream], set(without)) for stream in present):
        raise ValueError(f"{path}: none of its streams has an objective left.")
    return share, present, without


def _all_objectives(streams: Mapping[str, Objectives]) -> set[str]:
    return {name for objectives in streams.values() for name in objectives}


def _active(objectives: Objectives, off: set[str]) -> Objectives:
    if isinstance(objectives, Mapping):
        return {name: weight for name, weight in objectives.items() if name not in off}
    return tuple(name for name in objectives if name not in off)


def _check_names(path: str, names: Iterable[str], accepted: Iterable[str], kind: str) -> None:
    accepted = list(accepted)
    for name in names:
        if name not in accepted:
            listed = ", ".join(sorted(accepted))
            raise ValueError(f"{path}: '{name}' is no {kind} of this run: {listed}.{suggestion(name, accepted)}")
