"""The report of loading weights: what was done with every tensor of a file and every parameter of a model."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase

from x2vlm.weights.checkpoint_file import CheckpointError

Shape = tuple[int, ...]
_SHOWN = 4


@dataclass
class LoadReport:
    """The result of loading weights; ``str()`` formats it for people.

    All names are this library's, except where noted.

    Attributes:
        source: Where the tensors came from.
        kind: The published class they were of; empty if the names were ours.
        loaded: Parameters that now have the file's values.
        converted: Parameters of ``loaded`` that go by another name in the file: name -> name there.
        resized: Tensors that were made to fit: name -> shape in the file, shape in the model.
        copied: Parts that were filled from a part of another name, e.g. an answer decoder from fusion layers: name ->
            name it was copied from.
        fresh: Parameters that count as new for the learning rate although they were filled.
        missing: Parameters of the model that the file lacks.
        unexpected: Tensors of the file for which the model has no parameter.
        left_out: Tensors of the file of whole parts that this model does not have, and those that were to be skipped.
        misfits: Tensors whose shapes differ and for which no rule is known: name -> shape in the file, in the model.
        allowed: Patterns of names that may be missing.
    """

    source: str = ""
    kind: str = ""
    loaded: list[str] = field(default_factory=list)
    converted: dict[str, str] = field(default_factory=dict)
    resized: dict[str, tuple[Shape, Shape]] = field(default_factory=dict)
    copied: dict[str, str] = field(default_factory=dict)
    fresh: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    unexpected: list[str] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)
    misfits: dict[str, tuple[Shape, Shape]] = field(default_factory=dict)
    allowed: Sequence[str] = ()

    def check(self, allow_missing: Sequence[str] = (), allow_unexpected: Sequence[str] = ()) -> None:
        """Raise unless all parameters are loaded and all tensors used, or listed as allowed.

        Args:
            allow_missing: Patterns of parameters that may be missing (``objectives.classification``, ``*.bias``).
            allow_unexpected: Patterns of tensors that may be unexpected.

        Raises:
            CheckpointError: With every mismatch, and the whole report.
        """
        self.allowed = tuple(allow_missing)
        missing = [name for name in self.missing if not matches(name, allow_missing)]
        unexpected = [name for name in self.unexpected if not matches(name, allow_unexpected)]
        problems = []
        if self.misfits:
            shapes = [
                f"{name} is {_format_shape(theirs)} there and {_format_shape(ours)} here"
                for name, (theirs, ours) in self.misfits.items()
            ]
            problems.append(
                f"of another size: {abbreviated(shapes, '; ')}. Set the sizes in the config as in the file."
            )
        if missing:
            problems.append(
                f"missing: {abbreviated(missing)}. If they are to be trained from nothing, allow them by name: "
                f"loading=dict(allow_missing={_parts(missing)!r})."
            )
        if unexpected:
            problems.append(
                f"without a place in the model: {abbreviated(unexpected)}. If they may be left out, allow them by "
                f"name: loading=dict(allow_unexpected={_parts(unexpected)!r})."
            )
        if problems:
            listed = "\n  ".join(problems)
            raise CheckpointError(f"{self.source} does not fit this model:\n  {listed}\n{self}")

    def __str__(self) -> str:
        origin = f" (published {self.kind}, names converted)" if self.kind else ""
        total = len(self.loaded) + len(self.missing) + len(self.misfits)
        lines = [f"loaded {len(self.loaded)} of {total} tensors from {self.source}{origin}: {_counts(self.loaded)}"]
        for title, shapes in (("resized", self.resized), ("of another size", self.misfits)):
            if shapes:
                entries = [
                    f"{name} {_format_shape(there)} -> {_format_shape(here)}" for name, (there, here) in shapes.items()
                ]
                lines.append(f"{title} {len(shapes)}: {abbreviated(entries, shown=2)}")
        if self.copied:
            entries = [f"{name} from {source}" for name, source in self.copied.items()]
            lines.append(f"copied {len(self.copied)}: {abbreviated(entries, shown=2)}")
        for title, names in (
            ("missing", [name for name in self.missing if not matches(name, self.allowed)]),
            (
                "missing as allowed, left as the model was made",
                [name for name in self.missing if matches(name, self.allowed)],
            ),
            ("without a place", self.unexpected),
            ("filled, but learning like new ones", self.fresh),
        ):
            if names:
                lines.append(f"{title} {len(names)}: {abbreviated(names)}")
        if self.left_out:
            lines.append(f"left out {len(self.left_out)}: {_counts(self.left_out)}")
        return "\n  ".join(lines)


def matches(name: str, patterns: Iterable[str]) -> bool:
    """Whether a name, or the part it belongs to, matches one of the patterns.

    ``objectives.classification`` matches everything in it; ``*`` and ``?`` match any letters.
    """
    return any(fnmatchcase(name, pattern) or fnmatchcase(name, f"{pattern}.*") for pattern in patterns)


def part_of(name: str) -> str:
    """The part a name belongs to: ``objectives.itm`` of ``objectives.itm.head.0.weight``, else its first word."""
    words = name.split(".")
    return ".".join(words[: 2 if words[0] in ("objectives", "unused") else 1])


def _counts(names: Iterable[str]) -> str:
    counts = Counter(map(part_of, names))
    return ", ".join(f"{part} {count}" for part, count in counts.items()) or "nothing"


def _parts(names: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(map(part_of, names)))


def abbreviated(entries: Sequence[str], between: str = ", ", shown: int = _SHOWN) -> str:
    """The first entries of a list, and how many more there are."""
    return between.join(entries[:shown]) + (f" and {len(entries) - shown} more" if len(entries) > shown else "")


def _format_shape(shape: Iterable[int]) -> str:
    return "x".join(map(str, shape)) or "a number"
