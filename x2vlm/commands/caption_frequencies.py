"""``caption-frequencies``: in how many images each n-gram of the training captions occurs, for objective SCST."""

import argparse
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from x2vlm.part_errors import ConfigError

EXAMPLE = (
    "example:\n  x2vlm caption-frequencies configs/finetune/x2vlm_base_captioning_coco_scst.py frequencies.json "
    "--cfg-options data_root=data/coco"
)


def main(argv: Sequence[str] | None = None) -> int:
    """Read the captions of a stream, write their document frequencies."""
    from x2vlm.config import add_cfg_options, load_config

    parser = argparse.ArgumentParser(
        prog="x2vlm caption-frequencies",
        description=__doc__,
        epilog=EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("config", type=Path, help="the config whose training captions are counted")
    parser.add_argument("out", type=Path, help="the file to write; must not exist")
    parser.add_argument("--stream", help="name of the stream (default: the only one)")
    parser.add_argument("--records", type=int, help="read so many records only (default: all)")
    add_cfg_options(parser)
    args = parser.parse_args(argv)
    if args.out.exists():
        raise ConfigError(f"{args.out} exists. Models are trained with it: remove it, or name another file.")
    if args.records is not None and args.records < 1:
        raise ConfigError(f"--records is {args.records}; expected a count from 1.")
    counted, skipped = write_frequencies(
        load_config(args.config, args.cfg_options), args.out, args.stream, args.records
    )
    told = f" {skipped} records could not be used." if skipped else ""
    sys.stdout.write(f"{args.out}: n-grams of the captions of {counted} images.{told}\n")
    return 0


def write_frequencies(cfg: Any, out: Path, stream: str | None = None, records: int | None = None) -> tuple[int, int]:
    """Count and write.

    Args:
        cfg: The config.
        out: The file.
        stream: Name of the stream; None: the only one.
        records: Records that are read at most.

    Returns:
        The number of images that were counted, and of records that could not be used.

    Raises:
        ConfigError: If there is no such stream, or no record has a caption.
    """
    from x2vlm.cider import DocumentFrequencies, caption_tokens
    from x2vlm.data.io.atomic_files import write_atomically

    dataset = stream_dataset(cfg, stream)
    captions: dict[str, list[str]] = {}
    skipped = 0
    for texts in captions_of_records(dataset, records):
        if texts is None:
            skipped += 1
        else:
            captions.setdefault(texts[0], []).extend(texts[1])
    if not captions:
        raise ConfigError(f"none of the {skipped} records that were read has a caption.")
    tokens = ([caption_tokens(text) for text in texts] for texts in captions.values())
    out.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(out, DocumentFrequencies.of(tokens).to_json())
    return len(captions), skipped


def stream_dataset(cfg: Any, stream: str | None) -> Any:
    """The data set of a stream of a config, built, without its pipeline: no image is decoded."""
    from x2vlm.argument_checks import suggestion
    from x2vlm.building import build
    from x2vlm.data.data_root import with_data_root
    from x2vlm.registry import DATASETS

    names = list(cfg.streams)
    if stream is None and len(names) > 1:
        raise ConfigError(f"the config has the streams {', '.join(names)}: name one by --stream.")
    if stream is not None and stream not in names:
        raise ConfigError(f"there is no stream '{stream}'.{suggestion(stream, names)} Streams: {', '.join(names)}.")
    stream = stream or names[0]
    dataset = dict(cfg.streams[stream].dataset) | {"pipeline": []}
    return build(DATASETS, with_data_root(dataset, cfg.get("data_root")), f"streams.{stream}.dataset")


def captions_of_records(dataset: Any, records: int | None) -> Iterator[tuple[str, list[str]] | None]:
    """The identity and the captions of each record; None for a record that cannot be used, or has no caption."""
    from x2vlm.data.record import RecordError
    from x2vlm.data.transforms.texts.field_texts import all_texts

    for index in range(len(dataset) if records is None else min(records, len(dataset))):
        try:
            record = dataset.record(index)
            texts = all_texts(record.get("caption"), None)
        except (RecordError, ValueError):
            yield None
            continue
        yield (str(record.get("id", index)), texts) if texts else None
