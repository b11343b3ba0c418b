"""``compare-encoders``: text types of transformers beside transformers itself, and a backbone of every family of timm.

Weights are fresh, sizes as small as the packages allow; nothing is fetched.
"""

import argparse
import sys
import textwrap
from collections.abc import Iterable, Iterator, Mapping, Sequence

from x2vlm.building import ConfigError

_HEAD = """# Encoders that were tried

```bash
x2vlm compare-encoders > docs/encoders.md  # {versions}
```

## Text types of transformers

`HFTextEncoder` with the same weights as transformers' own network, with and without padding: the largest difference of
a real token, as a share of the largest state. *equal, left to right*: with `summary="last"`. *refused*: the sentence
that building it gives. *not tried*: no network of a size for a test could be made from sizes alone. Types whose
attention stays transformers' own are looked at whenever they are built, and refused if padding leaks.
"""
_BACKBONES = """
## Backbones of timm

A small model of each family through `TimmVisionEncoder`: whether a change in another corner of the image moves what
changes of the tokens, in an untrained network.
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Compare and print; returns 1 if a text type differs from transformers."""
    parser = argparse.ArgumentParser(prog="x2vlm compare-encoders", description=__doc__)
    parser.add_argument("names", nargs="*", help="types of transformers and families of timm (default: all)")
    args = parser.parse_args(argv)
    differs = False
    for line, bad in page(args.names):
        sys.stdout.write(line + "\n")
        sys.stdout.flush()
        differs |= bad
    return int(differs)


def page(names: Sequence[str] = ()) -> Iterator[tuple[str, bool]]:
    """Lines of Markdown, each with whether it reports a difference that must not be."""
    import timm
    import transformers

    from x2vlm.benchmark.encoder_comparison.backbone_comparison import families, try_family
    from x2vlm.benchmark.encoder_comparison.text_comparison import compare, text_types

    known, found = text_types(), families()
    unknown = [name for name in names if name not in known and name not in found]
    if unknown:
        raise ConfigError(f"{', '.join(unknown)}: neither a text type of transformers nor a family of timm.")
    kinds = [kind for kind in known if not names or kind in names]
    chosen = {family: models for family, models in found.items() if not names or family in names}
    yield _HEAD.format(versions=f"transformers {transformers.__version__}, timm {timm.__version__}"), False
    if kinds:
        yield _row("type", "verdict", "difference"), False
        yield _row("---", "---", "---"), False
    reasons = {}
    for kind in kinds:
        one = compare(kind)
        difference = "" if one.difference is None else f"{one.difference:.0e}"
        reasons[one.kind] = one.reason
        yield _row(f"`{one.kind}`", one.verdict, difference), one.verdict == "differs"
    yield from ((line, False) for line in _reasons(reasons))
    if chosen:
        yield _BACKBONES, False
        yield _row("family", "model", "verdict", "image", "grid", "width"), False
        yield _row(*["---"] * 6), False
    reasons = {}
    for family, models in chosen.items():
        tried = try_family(family, models)
        sizes = (tried.image_size, "{} x {}".format(*tried.grid), tried.width) if tried.image_size else ("", "", "")
        reasons[family] = tried.reason
        yield _row(f"`{family}`", f"`{tried.name}`", tried.verdict, *sizes), False
    yield from ((line, False) for line in _reasons(reasons))


def _reasons(reasons: Mapping[str, str]) -> Iterator[str]:
    """Why types or families were refused or not tried, as a list of wrapped lines."""
    given = {name: reason for name, reason in reasons.items() if reason}
    if given:
        yield "\nWhy some were refused or not tried:\n"
    for name, reason in given.items():
        (text,) = _cell([reason])
        yield textwrap.fill(f"- `{name}`: {text}", 118, subsequent_indent="  ", break_long_words=False)


def _row(*cells: object) -> str:
    return f"| {' | '.join(_cell(cells))} |"


def _cell(cells: Iterable[object]) -> Iterator[str]:
    return (str(cell).replace("|", "\\|").replace("<", "&lt;") for cell in cells)
