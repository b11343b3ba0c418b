"""``--cfg-options KEY=VALUE``: changes of a config from the command line."""

import ast
from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from typing import Any

from mmengine.config import DictAction


def add_cfg_options(parser: ArgumentParser) -> None:
    """Add ``--cfg-options KEY=VALUE ...`` to a command; the parsed dict is for ``load_config``."""
    parser.add_argument(
        "--cfg-options",
        nargs="+",
        action=CfgOptions,
        default={},
        metavar="KEY=VALUE",
        help="change the config, e.g. streams.region.weight=0 streams.image.objectives=[itc,itm]",
    )


class CfgOptions(DictAction):
    """MMEngine's ``KEY=VALUE`` pairs, with a sentence instead of a traceback for malformed ones."""

    def __call__(
        self, parser: ArgumentParser, namespace: Namespace, values: Sequence[str], option_string: str | None = None
    ) -> None:
        """Add the pairs to the dict that is there."""
        options = dict(getattr(namespace, self.dest, None) or {})
        for pair in values:
            key, equals, value = pair.partition("=")
            if not equals:
                parser.error(f"{option_string} takes KEY=VALUE, not '{pair}'")
            if value.strip("'\"").startswith(("dict(", "{")):  # for load_config to refuse; MMEngine recurses for ever
                options[key] = value
                continue
            if value.startswith(("[", "(")) and ("dict(" in value or "{" in value):
                try:
                    options[key] = python_value(value)
                except (SyntaxError, ValueError) as error:
                    parser.error(f"{option_string} {pair}: {error}")
                continue
            try:
                options[key] = self._parse_iterable(value)
            except AssertionError:
                parser.error(f"{option_string} {pair}: a bracket is not closed")
        setattr(namespace, self.dest, options)


def python_value(text: str) -> Any:
    """A list of dicts as one types it: ``[dict(type=Flip,prob=0.5),{"type":"Resize","size":64}]``; names are strings.

    Raises:
        SyntaxError: If it is no Python.
        ValueError: If there is anything else in it than lists, dicts, numbers and names.
    """

    def value(node: ast.expr) -> Any:
        match node:
            case ast.List(elts=items):
                return [value(item) for item in items]
            case ast.Tuple(elts=items):
                return tuple(value(item) for item in items)
            case ast.Dict(keys=keys, values=values):
                return {value(key): value(item) for key, item in zip(keys, values, strict=True)}
            case ast.Call(func=ast.Name(id="dict"), args=[], keywords=keywords):
                return {keyword.arg: value(keyword.value) for keyword in keywords}
            case ast.UnaryOp(op=ast.USub(), operand=ast.Constant(value=int() | float() as number)):
                return -number
            case ast.Constant(value=constant):
                return constant
            case ast.Name(id="true" | "false" as word):
                return word == "true"
            case ast.Name() | ast.Attribute():
                return ast.unparse(node)
        raise ValueError(f"'{ast.unparse(node)}' is neither a list, a dict, a number nor a name")

    return value(ast.parse(text, mode="eval").body)
