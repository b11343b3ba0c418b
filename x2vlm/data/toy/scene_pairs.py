"""Sentences about two toy scenes side by side, true or false (as in NLVR2).

English. A sentence of each kind is true of a pair of scenes as often as it is false; what it names is in one of the
scenes either way, so that neither the words nor one image alone give it away.
"""

from collections.abc import Callable
from random import Random

from x2vlm.data.toy.drawn_shapes import COLORS
from x2vlm.data.toy.scene import Scene

Statement = tuple[str, bool]
"""A sentence and whether it is true."""


def both_show(left: Scene, right: Scene) -> list[Statement]:
    """Both pictures show a red thing."""
    return _of_colors(
        left, right, "Both pictures show {a} {color} thing.", lambda in_left, in_right: in_left and in_right
    )


def one_shows(left: Scene, right: Scene) -> list[Statement]:
    """Only one picture shows a red thing."""
    text = "Only one picture shows {a} {color} thing."
    return _of_colors(left, right, text, lambda in_left, in_right: in_left != in_right)


def left_shows(left: Scene, right: Scene) -> list[Statement]:
    """The left picture shows a red thing, and the right one does not (or the other way round)."""
    return [
        statement
        for side, other in (("left", "right"), ("right", "left"))
        for statement in _of_colors(
            left,
            right,
            f"The {side} picture shows {{a}} {{color}} thing and the {other} picture does not.",
            lambda in_left, in_right, side=side: (in_left, in_right) == (side == "left", side == "right"),
        )
    ]


def more_things(left: Scene, right: Scene) -> list[Statement]:
    """The left picture shows more things than the right picture."""
    difference = len(left.things) - len(right.things)
    if difference == 0:
        return []
    return [
        ("The left picture shows more things than the right picture.", difference > 0),
        ("The right picture shows more things than the left picture.", difference < 0),
    ]


def _of_colors(left: Scene, right: Scene, text: str, true: Callable[[bool, bool], bool]) -> list[Statement]:
    seen = [{thing.color for thing in scene.things} for scene in (left, right)]
    return [
        (text.format(a="an" if color[0] in "aeiou" else "a", color=color), true(color in seen[0], color in seen[1]))
        for color in COLORS
        if color in seen[0] | seen[1]
    ]


STATEMENTS: dict[str, Callable[[Scene, Scene], list[Statement]]] = {
    "both": both_show,
    "one": one_shows,
    "side": left_shows,
    "more": more_things,
}
"""Every kind of statement by name."""


def make_statement(rng: Random, left: Scene, right: Scene, kind: str, truth: bool) -> str | None:
    """A sentence of that kind which is true (or false) of the two scenes; None where there is none."""
    fitting = [text for text, true in STATEMENTS[kind](left, right) if true == truth]
    return rng.choice(fitting) if fitting else None
