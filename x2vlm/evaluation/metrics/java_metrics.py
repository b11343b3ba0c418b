"""METEOR and SPICE: scores of captions whose only definition is a Java program, run by the package pycocoevalcap."""

from collections.abc import Sequence
from importlib.util import find_spec
from shutil import which

from x2vlm.building import suggestion

NAMES = ("meteor", "spice")


def check_java_scores(names: Sequence[str]) -> None:
    """Whether these scores can be computed here.

    Raises:
        ValueError: If there is no such score, or Java or the package is missing.
    """
    for name in names:
        if name not in NAMES:
            raise ValueError(f"also: {name!r} is not known.{suggestion(name, NAMES)} Accepted: {', '.join(NAMES)}.")
    missing = [
        what for what, found in (("java", which("java")), ("pycocoevalcap", find_spec("pycocoevalcap"))) if not found
    ]
    if names and missing:
        raise ValueError(
            f"{', '.join(names)} needs Java and the package pycocoevalcap (pip install x2vlm[captions]), but there "
            f"is no {' and no '.join(missing)} here. Install it, or leave also={tuple(names)} out."
        )


def java_score(name: str, candidates: Sequence[Sequence[str]], references: Sequence[Sequence[Sequence[str]]]) -> float:
    """One of them over a corpus of words, 0..1. SPICE fetches its models when it is first used."""
    known = {i: [" ".join(words) for words in some] for i, some in enumerate(references)}
    made = {i: [" ".join(words)] for i, words in enumerate(candidates)}
    if name == "meteor":
        from pycocoevalcap.meteor.meteor import Meteor as Score
    else:
        from pycocoevalcap.spice.spice import Spice as Score
    return float(Score().compute_score(known, made)[0])
