"""ONNX files of a model: one a graph, with a description of how to use them."""

import json
import logging
import warnings
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from torch.export import ExportedProgram
from torch.export import save as save_program

from x2vlm import __version__
from x2vlm.building import ConfigError
from x2vlm.export.graphs import NAMES
from x2vlm.export.torch_export import longest_text, programs_of

OPSET = 20
DESCRIPTION = "export.json"
FORMATS = ("onnx", "torch")


def export_model(model: Any, folder: str | Path, format: str = "onnx", int8: bool = False) -> dict[str, Path]:
    """Write the graphs of a model into a folder.

    Args:
        model: A model that was built from configs, or read from a folder.
        folder: Is made.
        format: ``onnx``, or ``torch`` (``.pt2`` files of torch.export).
        int8: Also write ``*.int8.onnx``, whose matrix products have weights of 8 bits (onnxruntime's dynamic
            quantisation).

    Returns:
        The files by graph (``image``, ``text``, ``context``, ``matching``, ``boxes``; ``image.int8`` and so on).

    Raises:
        ConfigError: If the format is unknown, a package is missing, or the model cannot be traced.
    """
    if format not in FORMATS:
        raise ConfigError(f"format is {format!r}. Accepted: {', '.join(FORMATS)}.")
    if int8 and format != "onnx":
        raise ConfigError("int8 weights are onnxruntime's: use format 'onnx', or leave int8 out.")
    if format == "onnx":
        _require("onnx", "onnxscript", *(("onnxruntime",) if int8 else ()))
    folder = Path(folder)
    programs = programs_of(model)
    folder.mkdir(parents=True, exist_ok=True)
    files = {}
    for name, program in programs.items():
        files[name] = folder / f"{name}.{'onnx' if format == 'onnx' else 'pt2'}"
        if format == "torch":
            save_program(program, files[name])
            continue
        write_onnx(program, files[name], name)
        if int8:
            files[f"{name}.int8"] = quantise(files[name])
    (folder / DESCRIPTION).write_text(json.dumps(describe(model, programs, files), indent=2) + "\n", "utf-8")
    return files


def write_onnx(program: ExportedProgram, file: Path, graph: str) -> None:
    """One graph as ONNX, its weights inside the file."""
    import torch

    inputs, outputs = NAMES[graph]
    count = len(program.graph_signature.user_outputs)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        onnx_log = logging.getLogger("torch.onnx")
        level = onnx_log.level
        onnx_log.setLevel(logging.ERROR)
        try:
            onnx_program = torch.onnx.export(
                program,
                input_names=list(inputs),
                output_names=list(outputs)[:count],
                opset_version=OPSET,
                dynamo=True,
                verbose=False,
            )
        finally:
            onnx_log.setLevel(level)
    onnx_program.save(str(file))


def quantise(file: Path) -> Path:
    """Weights of matrix products in 8 bits, beside the file."""
    from onnxruntime.quantization import QuantType, quantize_dynamic

    target = file.with_suffix(".int8.onnx")
    root = logging.getLogger()
    level = root.level
    root.setLevel(logging.ERROR)  # it advises pre-processing, which these graphs have had
    try:
        quantize_dynamic(str(file), str(target), weight_type=QuantType.QInt8, op_types_to_quantize=["MatMul", "Gemm"])
    finally:
        root.setLevel(level)
    return target


def describe(model: Any, programs: dict[str, ExportedProgram], files: dict[str, Path]) -> dict[str, Any]:
    """What somebody needs who has these files alone: inputs and outputs, sizes, how images and texts are prepared."""
    image_size = getattr(model.vision_encoder, "image_size", None)
    return {
        "x2vlm": __version__,
        "files": {name: file.name for name, file in files.items()},
        "graphs": {
            name: {"inputs": list(NAMES[name][0]), "outputs": list(NAMES[name][1])[: _outputs(program)]}
            for name, program in programs.items()
        },
        "image_size": list(image_size) if image_size else None,
        "max_text_length": longest_text(model) if model.text_encoder is not None else None,
        "preprocessing": getattr(model, "preprocessing", None),
    }


def _outputs(program: ExportedProgram) -> int:
    return len(program.graph_signature.user_outputs)


def _require(*packages: str) -> None:
    missing = [package for package in packages if find_spec(package) is None]
    if missing:
        raise ConfigError(
            f"export to ONNX needs {', '.join(missing)}, which is not installed: pip install 'x2vlm[export]'."
        )
