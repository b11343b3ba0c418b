"""METEOR and SPICE: caption metrics that are defined by a Java program, run through the package pycocoevalcap."""

from collections.abc import Sequence
from importlib.util import find_spec
from shutil import which

from x2vlm.building import suggestion

JAVA_METRICS = ("meteor", "spice")


def check_java_metrics(names: Sequence[str]) -> None:
    """Check that these metrics can be computed on this machine.

    Raises:
        ValueError: If there is no such metric, or Java or the package is missing.
    """
    for name in names:
        if name not in JAVA_METRICS:
            accepted = ", ".join(JAVA_METRICS)
            raise ValueError(f"also: {name!r} is not known.{suggestion(name, JAVA_METRICS)} Accepted: {accepted}.")
    available = {"java": which("java"), "pycocoevalcap": find_spec("pycocoevalcap")}
    missing = [requirement for requirement, path in available.items() if not path]
    if names and missing:
        raise ValueError(
            f"{', '.join(names)} needs Java and the package pycocoevalcap (pip install x2vlm[captions]), but there "
            f"is no {' and no '.join(missing)} here. Install it, or leave also={tuple(names)} out."
        )


def java_metric(name: str, candidates: Sequence[Sequence[str]], references: Sequence[Sequence[Sequence[str]]]) -> float:
    """METEOR or SPICE of a tokenized corpus, 0..1. SPICE downloads its models at its first use."""
    reference_texts = {i: [" ".join(tokens) for tokens in texts] for i, texts in enumerate(references)}
    candidate_texts = {i: [" ".join(tokens)] for i, tokens in enumerate(candidates)}
    if name == "meteor":
        from pycocoevalcap.meteor.meteor import Meteor as Scorer
    else:
        from pycocoevalcap.spice.spice import Spice as Scorer
    return float(Scorer().compute_score(reference_texts, candidate_texts)[0])
