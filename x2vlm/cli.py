"""The command ``x2vlm``: one name for all tools, each imported only when it is called."""

import os
import sys
import traceback
from collections.abc import Sequence
from importlib import import_module

from x2vlm import __version__
from x2vlm.argument_checks import suggestion

# name -> (module with ``main(argv) -> int | None``, or "module:function", what it does)
COMMANDS = {
    "train": ("x2vlm.commands.train", "train a config"),
    "test": ("x2vlm.commands.test", "evaluate a checkpoint"),
    "match": ("x2vlm.commands.infer:match", "which of these texts fits an image"),
    "ground": ("x2vlm.commands.infer:ground", "where in an image is what a phrase describes"),
    "ask": ("x2vlm.commands.infer:ask", "answer a question about an image"),
    "caption": ("x2vlm.commands.infer:caption", "write a caption for an image"),
    "search": ("x2vlm.commands.infer:search", "find the images in a folder that a text describes"),
    "explain": ("x2vlm.commands.infer:explain", "which parts of an image a text rests on"),
    "app": ("x2vlm.commands.app", "a page and a REST API that serve a model"),
    "export": ("x2vlm.commands.export", "write a model as ONNX or torch.export graphs"),
    "gallery": ("x2vlm.commands.gallery", "encode a large gallery to disk, search it, measure recalls on it"),
    "demo": ("x2vlm.commands.demo", "train a small model on the toy world and write report.html"),
    "ablate": ("x2vlm.commands.ablate", "run configs over several seeds and compare them in a table and a plot"),
    "check-config": ("x2vlm.commands.check_config", "report every problem of configs, without training"),
    "check-plugin": (
        "x2vlm.commands.check_plugin",
        "run what a plugin brings once, and report what breaks its contract",
    ),
    "components": ("x2vlm.commands.components", "list every part a config can name"),
    "compare-encoders": ("x2vlm.commands.compare_encoders", "text types and backbones beside transformers and timm"),
    "make-shards": ("x2vlm.commands.make_shards", "pack a data set into tar shards with an index, and check them"),
    "build-pretraining-set": (
        "x2vlm.commands.build_pretraining_set",
        "make the 4M or 1B list from raw sets: test images left out, tar shards, a report",
    ),
    "verify-dataset": ("x2vlm.commands.verify_dataset", "read a whole data set: figures, and every broken record"),
    "browse-dataset": ("x2vlm.commands.browse_dataset", "write a page of records as training sees them"),
    "check-leakage": ("x2vlm.commands.check_leakage", "find what a training set shares with a test set"),
    "benchmark": (
        "x2vlm.commands.benchmark",
        "time and memory against the reference path, which computes as published",
    ),
    "flops": ("x2vlm.commands.flops", "parameters and multiply-adds of a config's model, part by part"),
    "plan": ("x2vlm.commands.plan", "memory, traffic and reading rates of a run, from formulas"),
    "convert-checkpoint": (
        "x2vlm.commands.convert_checkpoint",
        "between published checkpoints, ours, and model folders",
    ),
    "parameters": ("x2vlm.commands.parameters", "count the parameters of configs' models, or list their names"),
    "soak": ("x2vlm.commands.soak", "kill a toy training again and again, and compare it with an undisturbed one"),
    "caption-frequencies": (
        "x2vlm.commands.caption_frequencies",
        "count n-grams of training captions, for self-critical training",
    ),
    "make-vocab": ("x2vlm.commands.make_vocab", "make a WordPiece vocabulary from texts"),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run ``x2vlm COMMAND ...``; returns the exit status."""
    words = list(sys.argv[1:] if argv is None else argv)
    if not words or words[0] in ("-h", "--help", "help"):
        sys.stdout.write(usage())
        return 0 if words else 2
    if words[0] in ("-V", "--version"):
        sys.stdout.write(f"x2vlm {__version__}\n")
        return 0
    if words[0] not in COMMANDS:
        commands = f"Commands: {', '.join(COMMANDS)}."
        sys.stderr.write(f"x2vlm: there is no command '{words[0]}'.{suggestion(words[0], COMMANDS)} {commands}\n")
        return 2
    return run(words[0], words[1:])


def run(command: str, argv: Sequence[str] | None = None) -> int:
    """Run one command; the scripts in ``tools/`` call this.

    Errors that a user can correct (a config, a missing file) are printed as a sentence, errors inside a plugin as a
    sentence and their traceback; others keep their traceback.

    Args:
        command: A key of ``COMMANDS``.
        argv: Its arguments; those of the process if None.

    Returns:
        The exit status: 0 if all went well, 1 if not, 130 after Ctrl-C.
    """
    from x2vlm.building import ConfigError, PartError

    module, _, function = COMMANDS[command][0].partition(":")
    try:
        call = getattr(import_module(module), function or "main")
        return call(sys.argv[1:] if argv is None else argv) or 0
    except KeyboardInterrupt:
        sys.stderr.write(f"\nx2vlm {command}: interrupted. What was written before is complete.\n")
        return 130
    except BrokenPipeError:  # whoever read the output, `head` perhaps, has enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except (ConfigError, FileNotFoundError) as error:
        sys.stderr.write(f"{error}\n")
        return 1
    except PartError as error:  # a plugin's: the sentence, then what its author needs to mend it
        cause = error.__cause__ or error
        trace = "".join(traceback.format_exception(cause)) if cause is not error or str(error) != error.sentence else ""
        sys.stderr.write(f"{error.sentence}\n\n{trace}")
        return 1


def usage() -> str:
    """The text of ``x2vlm --help``."""
    width = max(map(len, COMMANDS))
    lines = [f"  {name:<{width}}  {does}" for name, (_, does) in COMMANDS.items()]
    return "\n".join(["usage: x2vlm COMMAND ...", "", *lines, "", "x2vlm COMMAND --help says more.", ""])


if __name__ == "__main__":
    sys.exit(main())
