"""``app``: a page and a REST API that serve a trained model, on this machine alone unless told otherwise."""

import argparse
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path


def main(argv: Sequence[str] | None = None) -> int:
    """Serve a model until it is interrupted; returns the exit status.

    0: it was stopped. 2: there is no such model or folder, or gradio is not installed.
    """
    args = _parse(argv)
    missing = [name for name in ("gradio", "fastapi", "uvicorn") if find_spec(name) is None]
    if missing:
        sys.stderr.write(f"x2vlm app needs {', '.join(missing)}: pip install 'x2vlm[app]'.\n")
        return 2
    from x2vlm.app.server import create_app, example_images, serve
    from x2vlm.app.service import Service
    from x2vlm.building import ConfigError
    from x2vlm.inference import Inferencer
    from x2vlm.plugins import load_plugins
    from x2vlm.weights import CheckpointError

    load_plugins()  # a model folder may name their parts
    try:
        device = args.device or _best_device()
        inferencer = Inferencer.from_checkpoint(args.model, args.checkpoint, args.evaluation, device)
        service = Service(inferencer, args.folder, args.index)
        examples = example_images() if args.toy_examples else []
        if service.index is not None:
            examples = [*examples, *map(Path, service.index.images[:4])]
    except (ConfigError, CheckpointError, ValueError, FileNotFoundError) as error:
        sys.stderr.write(f"x2vlm app: {error}\n")
        return 2
    if args.host not in ("127.0.0.1", "localhost", "::1"):
        sys.stderr.write(f"listening on {args.host}: everybody who reaches this machine can use the model.\n")
    sys.stdout.write(f"http://{args.host}:{args.port}  (tasks: {', '.join(inferencer.tasks)}; stop with Ctrl-C)\n")
    sys.stdout.flush()
    serve(create_app(service, examples, page=not args.api_only), args.host, args.port)
    return 0


def _best_device() -> str:
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="x2vlm app",
        description=__doc__,
        epilog="example:\n  x2vlm app configs/demo/toy_pretrain.py --checkpoint work_dirs/toy/iter_1400.pth "
        "--toy-examples",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("model", metavar="MODEL", help="a model folder, or a config file")
    parser.add_argument("--checkpoint", help="weights of the config's model")
    parser.add_argument("--evaluation", help="prepare images and texts as this evaluation of the config does")
    parser.add_argument("--device", help="cpu, cuda, ... (default: a GPU if there is one)")
    parser.add_argument("--folder", help="images that can be searched")
    parser.add_argument("--index", help="keep the features of that folder here between starts")
    parser.add_argument("--toy-examples", action="store_true", help="show scenes of the toy world as examples")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: 127.0.0.1, this machine)")
    parser.add_argument("--port", type=int, default=7860, help="(default: 7860)")
    parser.add_argument("--api-only", action="store_true", help="the REST API without the page")
    return parser.parse_args(argv)
