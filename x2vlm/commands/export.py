"""``export``: a trained model as graphs for onnxruntime or torch, which run without this library."""

import argparse
import sys
from collections.abc import Sequence


def main(argv: Sequence[str] | None = None) -> int:
    """Export a model; returns the exit status.

    0: done. 2: there is no such model, a package is missing, or a part of the model cannot be traced.
    """
    args = _parse(argv)
    from x2vlm.building import ConfigError
    from x2vlm.data.io.paths import check_output_folder
    from x2vlm.export.onnx_files import export_model
    from x2vlm.inference.trained_model import open_model
    from x2vlm.plugins import load_plugins
    from x2vlm.weights import CheckpointError

    load_plugins()  # a model folder may name their parts
    try:
        check_output_folder(args.target, "FOLDER")
        model, tokenizer, preprocessing = open_model(args.model, args.checkpoint)
        model.preprocessing = preprocessing.to_dict()
        files = export_model(model, args.target, args.format, args.int8)
    except (ConfigError, CheckpointError, ValueError, FileNotFoundError) as error:
        sys.stderr.write(f"x2vlm export: {error}\n")
        return 2
    if tokenizer is not None:
        tokenizer.save_pretrained(args.target)
    for name, file in files.items():
        sys.stdout.write(f"{name:<14} {file}  {file.stat().st_size / 2**20:.1f} MiB\n")
    return 0


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="x2vlm export",
        description=__doc__,
        epilog="example:\n  x2vlm export work_dirs/model work_dirs/onnx --format onnx --int8",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("model", metavar="MODEL", help="a model folder, or a config file")
    parser.add_argument("target", metavar="FOLDER", help="where the files go")
    parser.add_argument("--checkpoint", help="weights of the config's model")
    parser.add_argument("--format", choices=("onnx", "torch"), default="onnx", help="(default: onnx)")
    parser.add_argument("--int8", action="store_true", help="also write files with weights of 8 bits")
    return parser.parse_args(argv)
