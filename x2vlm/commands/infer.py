"""``match``, ``ground``, ``ask``, ``caption``, ``search``, ``explain``: ask a trained model about image files.

MODEL is a folder that ``save_pretrained`` or ``convert-checkpoint --to folder`` wrote, or a config file with
``--checkpoint``. Of the other arguments, those that are files or folders are images, and the rest are texts. Every
answer is one JSON object on a line of its own; ``--out FOLDER`` draws the answers that can be drawn.
"""

import argparse
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

EXAMPLES = {
    "match": "x2vlm match work_dirs/model photo.jpg 'a red car' 'a dog on a sofa'",
    "ground": "x2vlm ground work_dirs/model photo.jpg 'the red car' --out drawn",
    "ask": "x2vlm ask work_dirs/model photo.jpg 'how many people are there?' --candidates one two three",
    "caption": "x2vlm caption work_dirs/model photos/ > captions.jsonl",
    "search": "x2vlm search work_dirs/model photos/ 'a dog on a sofa' --index photos.index",
    "explain": "x2vlm explain work_dirs/model photo.jpg 'a red car on a bridge' --word 'red car' --out maps",
}
DOES = {
    "match": "which of these texts fits each image",
    "ground": "where in each image is what the phrases describe",
    "ask": "answer questions about each image",
    "caption": "write a caption for each image",
    "search": "find the images that a text describes",
    "explain": "which parts of an image a text rests on",
}
NEEDS_TEXT = ("match", "ground", "ask", "search", "explain")


def run(task: str, argv: Sequence[str] | None = None) -> int:
    """One of the commands; returns the exit status.

    0: all images were answered. 1: some could not be read; the others were answered. 2: nothing could be done.
    """
    args = _parse(task, argv)
    from x2vlm.building import ConfigError
    from x2vlm.data.io.paths import check_output_folder
    from x2vlm.data.record import RecordError
    from x2vlm.inference import Inferencer
    from x2vlm.inference.inputs import with_name
    from x2vlm.plugins import load_plugins
    from x2vlm.weights import CheckpointError

    load_plugins()  # a model folder may name their parts
    try:
        images, texts = sort_arguments(args.arguments)
        _check(task, args, images, texts)
        for option in ("out", "index"):
            if getattr(args, option, None) is not None:
                check_output_folder(getattr(args, option), f"--{option}")
        device = args.device or _best_device()
        inferencer = Inferencer.from_checkpoint(args.model, args.checkpoint, args.evaluation, device)
        _check_model(task, inferencer, texts)
        failed = 0
        for image, answers in ANSWERS[task](inferencer, images, texts, args):
            try:
                for answer in answers():
                    sys.stdout.write(json.dumps({"image": str(image)} | answer, ensure_ascii=False) + "\n")
                sys.stdout.flush()
            except (RecordError, ValueError) as error:  # of this image: the others go on
                failed += 1
                sys.stderr.write(f"{with_name(image, str(getattr(error, 'reason', error)))}\n")
        return int(failed > 0)
    except (ConfigError, CheckpointError, ValueError, FileNotFoundError) as error:
        sys.stderr.write(f"x2vlm {task}: {error}\n")
        return 2


match, ground, ask, caption, search, explain = (partial(run, task) for task in EXAMPLES)


def sort_arguments(arguments: Sequence[str]) -> tuple[list[Path], list[str]]:
    """Which arguments are images (files and folders that exist), and which are texts.

    Raises:
        ValueError: If an argument looks like an image file and is not there.
    """
    from x2vlm.inference.inputs import IMAGE_ENDINGS, VIDEO_ENDINGS

    images, texts = [], []
    for argument in arguments:
        path = Path(argument).expanduser()
        if len(argument) < 4096 and path.exists():
            images.append(path)
        elif path.suffix.lower() in (*IMAGE_ENDINGS, *VIDEO_ENDINGS) and " " not in argument:
            raise ValueError(f"there is no file {argument}.")
        else:
            texts.append(argument)
    return images, texts


def _check(task: str, args: argparse.Namespace, images: Sequence[Path], texts: Sequence[str]) -> None:
    if not images and not (task == "search" and args.index):
        raise ValueError(f"give one image or more (files or folders). For example: {EXAMPLES[task]}")
    if task in NEEDS_TEXT and not texts:
        raise ValueError(f"give one text or more. For example: {EXAMPLES[task]}")
    if task == "caption" and texts:
        raise ValueError(f"caption takes images alone; {texts[0]!r} is no file.")


def _check_model(task: str, inferencer: Any, texts: Sequence[str]) -> None:
    """Refuse before the first image what no image could mend.

    Raises:
        ValueError: If the model cannot do it, or a text cannot be read.
    """
    inferencer.check_task({"ask": "answer", "search": "retrieve"}.get(task, task))
    if texts:
        (inferencer.processor.questions if task == "ask" else inferencer.processor.captions)(texts)


def _best_device() -> str:
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def files_of(images: Sequence[Path]) -> list[Path]:
    """Files as given, and all images of folders."""
    from x2vlm.inference.inputs import images_in

    return [file for path in images for file in (images_in(path) if path.is_dir() else [path])]


def _each(files: Sequence[Path], task: str) -> Iterator[Path]:
    """The files, with a progress bar on a terminal where there are many."""
    from tqdm import tqdm

    yield from tqdm(files, desc=task, unit="image", file=sys.stderr, disable=len(files) < 3 or not sys.stderr.isatty())


def _given(path: Path) -> dict[str, Any]:
    from x2vlm.inference.inputs import VIDEO_ENDINGS

    return {"video": path} if path.suffix.lower() in VIDEO_ENDINGS else {"image": path}


def _match(inferencer: Any, images: Any, texts: Any, args: Any) -> Iterator[tuple[Path, Callable]]:
    for file in _each(files_of(images), "match"):
        yield file, lambda file=file: [one.to_dict() for one in inferencer.match(texts=texts, k=args.k, **_given(file))]


def _ground(inferencer: Any, images: Any, texts: Any, args: Any) -> Iterator[tuple[Path, Callable]]:
    def answers(file: Path) -> list[dict[str, Any]]:
        found = inferencer.ground(file, texts, args.candidates, args.threshold)
        drawn = _save(args.out, file, lambda: inferencer.draw(file, found))
        return [one.to_dict() | drawn for one in found]

    for file in _each(files_of(images), "ground"):
        yield file, partial(answers, file)


def _ask(inferencer: Any, images: Any, texts: Any, args: Any) -> Iterator[tuple[Path, Callable]]:
    def answers(file: Path) -> list[dict[str, Any]]:
        found = inferencer.answer(questions=texts, candidates=args.candidates, best=args.best, **_given(file))
        return [one.to_dict() for one in found]

    for file in _each(files_of(images), "ask"):
        yield file, partial(answers, file)


def _caption(inferencer: Any, images: Any, texts: Any, args: Any) -> Iterator[tuple[Path, Callable]]:
    for file in _each(files_of(images), "caption"):
        yield file, lambda file=file: [inferencer.caption(**_given(file)).to_dict()]


def _search(inferencer: Any, images: Any, texts: Any, args: Any) -> Iterator[tuple[str, Callable]]:
    from tqdm import tqdm

    from x2vlm.inference.image_index import ImageIndex

    files = files_of(images) if images else None
    with tqdm(total=len(files or ()), desc="encode", unit="image", disable=not sys.stderr.isatty()) as bar:

        def progress(done: int) -> None:
            bar.update(done - bar.n)

        if args.index is None:
            index = ImageIndex.of(inferencer, files, progress)
        else:
            index = ImageIndex.kept(inferencer, files, args.index, progress)
    for file, reason in index.broken:
        yield file, partial(_refuse, file, reason)
    for text in texts:
        for rank, one in enumerate(index.search(inferencer, text, args.k, args.rerank), start=1):
            yield one.image, lambda one=one, rank=rank, text=text: [{"text": text, "rank": rank} | one.to_dict()]


def _refuse(file: str, reason: str) -> list[dict[str, Any]]:
    from x2vlm.data.record import RecordError

    raise RecordError(file, reason)


def _explain(inferencer: Any, images: Any, texts: Any, args: Any) -> Iterator[tuple[Path, Callable]]:
    def answers(file: Path, text: str, number: int) -> list[dict[str, Any]]:
        found = inferencer.explain(file, text, args.word, args.layer, args.method)
        return [found.to_dict() | _save(args.out, file, found.draw, f"_{number}" if len(texts) > 1 else "")]

    for file in _each(files_of(images), "explain"):
        for number, text in enumerate(texts):
            yield file, partial(answers, file, text, number)


ANSWERS = {
    "match": _match, "ground": _ground, "ask": _ask, "caption": _caption, "search": _search, "explain": _explain
}  # fmt: skip


def _save(folder: str | None, file: Path, draw: Callable[[], Any], suffix: str = "") -> dict[str, str]:
    """Draw into the folder, if one was given; never over another image's drawing."""
    if folder is None:
        return {}
    target = Path(folder) / f"{file.stem}{suffix}.png"
    number = 1
    while target.exists():
        target = Path(folder) / f"{file.stem}{suffix}_{number}.png"
        number += 1
    target.parent.mkdir(parents=True, exist_ok=True)
    draw().save(target)
    return {"drawn": str(target)}


def _parse(task: str, argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog=f"x2vlm {task}",
        description=f"{task}: {DOES[task]}.\n\n{__doc__.partition(chr(10) * 2)[2]}",
        epilog=f"example:\n  {EXAMPLES[task]}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("model", metavar="MODEL", help="a model folder, or a config file")
    parser.add_argument("arguments", metavar="IMAGE|TEXT", nargs="*", help="image files or folders, and texts")
    parser.add_argument("--checkpoint", help="weights of the config's model")
    parser.add_argument("--evaluation", help="prepare images and texts as this evaluation of the config does")
    parser.add_argument("--device", help="cpu, cuda, ... (default: a GPU if there is one)")
    if task in ("ground", "explain"):
        parser.add_argument("--out", metavar="FOLDER", help="draw the answers into this folder")
    if task == "match":
        parser.add_argument("--k", type=int, help="compute probabilities of the K nearest texts only")
    if task == "ground":
        parser.add_argument("--candidates", type=int, default=1, help="boxes for each phrase (default: 1)")
        parser.add_argument("--threshold", type=float, default=0.0, help="below this probability: not in this image")
    if task == "ask":
        parser.add_argument("--candidates", nargs="+", help="choose among these answers; else they are generated")
        parser.add_argument("--best", type=int, default=1, help="how many answers to give (default: 1)")
    if task == "search":
        parser.add_argument("--k", type=int, default=10, help="how many images to name (default: 10)")
        parser.add_argument("--rerank", type=int, default=32, help="order so many anew by matching (default: 32)")
        parser.add_argument(
            "--index", metavar="FOLDER", help="keep the features here: later only new and changed files are encoded"
        )
    if task == "explain":
        parser.add_argument("--word", help="a word, or several in a row, of the text (default: all of it)")
        parser.add_argument("--layer", type=int, help="layer of the fusion encoder (default: the one in the middle)")
        parser.add_argument("--method", choices=("gradcam", "attention"), default="gradcam")
    return parser.parse_intermixed_args(argv)
