"""Archives and shards as they are published: ImageNet, img2dataset, WebDataset, folders of the library ``datasets``."""

import io
import json
import tarfile

import numpy as np

from tests.data.datasets.layout_files import Layout, image

SYNSETS = ("n01440764", "n01443537", "n01484850")


def tar_of(path, members):
    with tarfile.open(path, "w") as tar:
        for name, data in members:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return path


def imagenet_folder(root):
    for synset in SYNSETS:
        image(root / "train" / synset / f"{synset}_10026.JPEG")
    (root / "train" / SYNSETS[2] / f"{SYNSETS[2]}_10026.JPEG").write_bytes(b"no image")
    config = dict(type="ImageFolder", root="train")
    first = {"label": 0, "id": f"{SYNSETS[0]}/{SYNSETS[0]}_10026.JPEG"}
    return Layout(config, 2, ["is broken or not one of JPEG"], first, decoded=True)


def imagenet_train_tar(root):
    members = []
    for number, synset in enumerate(SYNSETS[1:] + SYNSETS[:1]):
        data = image(root / "x.jpg").read_bytes()
        path = tar_of(root / "inner.tar", [(f"{synset}_{n}.JPEG", data) for n in range(2 if number < 1 else 1)])
        members.append((f"{synset}.tar", path.read_bytes()[: None if number < 2 else 600]))
        path.unlink()
    tar_of(root / "ILSVRC2012_img_train.tar", members)
    (root / "x.jpg").unlink()
    config = dict(type="ImageNetArchive", archive="ILSVRC2012_img_train.tar")
    first = {"id": "n01443537_0.JPEG", "label": 1, "extras": {"class": "n01443537"}}
    return Layout(
        config,
        3,
        [r"img_train\.tar:n01440764: .*it ends inside the member 'n01440764_0\.JPEG'; what comes after is lost"],
        first,
    )


def write_devkit(folder, truth):
    from scipy.io import savemat

    kinds = [("ILSVRC2012_ID", object), ("WNID", object), ("words", object), ("num_children", object)]
    rows = [(2, SYNSETS[0], "tench", 0), (1, SYNSETS[1], "goldfish", 0), (3, SYNSETS[2], "shark", 0)]
    synsets = np.array([*rows, (1001, "n00001740", "entity", 2)], dtype=kinds).reshape(-1, 1)
    (folder / "data").mkdir(parents=True)
    savemat(folder / "data" / "meta.mat", {"synsets": synsets})
    (folder / "data" / "ILSVRC2012_validation_ground_truth.txt").write_text("\n".join(map(str, truth)) + "\n")


def imagenet_val_tar(root):
    data = image(root / "x.jpg").read_bytes()
    (root / "x.jpg").unlink()
    members = [(f"ILSVRC2012_val_{n:08d}.JPEG", data) for n in (1, 2, 4)]
    tar_of(root / "ILSVRC2012_img_val.tar", members)
    write_devkit(root / "ILSVRC2012_devkit_t12", truth=[2, 1, 3])
    config = dict(type="ImageNetArchive", archive="ILSVRC2012_img_val.tar", devkit="ILSVRC2012_devkit_t12")
    first = {"id": "ILSVRC2012_val_00000001.JPEG", "label": 0, "extras": {"class": SYNSETS[0]}}
    return Layout(config, 2, ["expected ILSVRC2012_val_00000001.JPEG to 00000003, got 'ILSVRC2012_val_00000004"], first)


def imagenet_val_devkit_tar(root):
    layout = imagenet_val_tar(root)
    kit = root / "ILSVRC2012_devkit_t12"
    with tarfile.open(root / "ILSVRC2012_devkit_t12.tar.gz", "w:gz") as tar:
        tar.add(kit, arcname=kit.name)
    return layout._replace(config={**layout.config, "devkit": "ILSVRC2012_devkit_t12.tar.gz"})


def laion(root):
    import pyarrow
    from pyarrow import parquet

    base = {"status": "success", "caption": "a dog", "similarity": 0.4, "width": 64}
    rows = [{**base, "key": f"00000000{n}", "url": f"http://a.org/{n}.jpg"} for n in range(4)]
    rows[1] |= {"status": "failed_to_download"}
    rows[3] |= {"caption": None}
    (root / "laion").mkdir()
    parquet.write_table(pyarrow.Table.from_pylist(rows), root / "laion" / "00000.parquet", row_group_size=2)
    data = image(root / "x.jpg").read_bytes()
    tar_of(root / "laion" / "00000.tar", [(f"00000000{n}.jpg", data) for n in (0, 2, 3)])
    config = dict(type="Img2Dataset", shards="laion/*.parquet", where_columns=dict(similarity=0.3))
    return Layout(config, 2, ["caption: expected a text, got None"], {"caption": "a dog", "id": "http://a.org/0.jpg"})


def laion_shards(root):
    data = image(root / "x.jpg").read_bytes()
    members = []
    for number in range(3):
        key = f"00000000{number}"
        members += [(f"{key}.jpg", data), (f"{key}.json", json.dumps({"caption": "a dog", "url": "u"}).encode())]
        members += [(f"{key}.txt", b"a dog" if number < 2 else b"\xff\xfe")]
    tar_of(root / "00000.tar", members)
    return Layout(dict(type="WebDataset", shards="*.tar"), 2, ["not UTF-8|utf-8"], {"caption": "a dog"})


def hf_saved(root):
    import pyarrow

    data = image(root / "x.jpg").read_bytes()
    rows = [{"image": {"bytes": data, "path": None}, "text": "a dog", "image_id": n} for n in range(3)]
    rows[2] |= {"image": {"bytes": b"no image", "path": None}}
    inner = root / "saved" / "train"
    inner.mkdir(parents=True)
    table = pyarrow.Table.from_pylist(rows)
    name = "data-00000-of-00001.arrow"
    with pyarrow.OSFile(str(inner / name), "wb") as file, pyarrow.ipc.new_stream(file, table.schema) as stream:
        stream.write_table(table, max_chunksize=2)
    (inner / "state.json").write_text(json.dumps({"_data_files": [{"filename": name}], "_split": "train"}))
    (root / "saved" / "dataset_dict.json").write_text(json.dumps({"splits": ["train"]}))
    config = dict(type="HFDataset", path="saved", split="train", keys=dict(caption="text"))
    return Layout(config, 2, ["is broken or not one of JPEG"], {"caption": "a dog", "id": "0"}, True)


def hf_parquet(root):
    import pyarrow
    from pyarrow import parquet

    data = image(root / "x.jpg").read_bytes()
    rows = [{"image": {"bytes": data, "path": None}, "caption": ["a dog"], "image_id": n} for n in range(3)]
    rows[2] |= {"image": None, "caption": None}
    (root / "data").mkdir()
    parquet.write_table(pyarrow.Table.from_pylist(rows), root / "data" / "train-00000-of-00001.parquet")
    config = dict(type="HFDataset", path="data/train-*.parquet")
    return Layout(config, 2, ["shows nothing and says nothing"], {"caption": ["a dog"], "id": "0"})


LAYOUTS = (
    *(imagenet_folder, imagenet_train_tar, imagenet_val_tar, imagenet_val_devkit_tar, laion, laion_shards, hf_saved),
    *(hf_parquet,),
)
