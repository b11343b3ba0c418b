import pytest

from x2vlm.building import build
from x2vlm.data.datasets.file_formats.image_folder import ImageFolder
from x2vlm.registry import DATASETS

PIPELINE = [dict(type="LoadImage"), dict(type="PickLabel"), dict(type="PackSample")]


@pytest.fixture
def root(tmp_path, png):
    for name in ("n02/b.png", "n02/in/a.PNG", "n01/c.jpg", "n03/d.png", "n01/notes.txt"):
        path = tmp_path / "train" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(png())
    return tmp_path / "train"


def test_the_class_of_an_image_is_the_folder_it_is_in(root):
    data = ImageFolder(root)
    actual = [(data[n]["id"], data[n]["label"], data[n]["extras"]["class"]) for n in range(len(data))]
    assert actual == [
        ("n01/c.jpg", 0, "n01"),
        ("n02/b.png", 1, "n02"),
        ("n02/in/a.PNG", 1, "n02"),
        ("n03/d.png", 2, "n03"),
    ]


def test_classes_are_numbered_as_they_are_named_and_others_are_left_out(root, tmp_path):
    (tmp_path / "classes.txt").write_text("n03\nn01\n")
    for classes in (["n03", "n01"], tmp_path / "classes.txt"):
        data = ImageFolder(root, classes)
        assert [(data[n]["id"], data[n]["label"]) for n in range(len(data))] == [("n01/c.jpg", 1), ("n03/d.png", 0)]


def test_a_pipeline_makes_samples_without_texts(root):
    sample = build(DATASETS, dict(type="ImageFolder", root=root, pipeline=PIPELINE))[1]
    assert (sample.labels, sample.texts, sample.ids) == ([1], [], ["n02/b.png"])
    assert sample.pixels.shape == (3, 8, 8)


def test_a_class_without_folder_and_a_folder_without_images_are_reported(root):
    with pytest.raises(ValueError, match=r"has no folder 'n04' \(1 are missing\)"):
        ImageFolder(root, ["n01", "n04"])
    with pytest.raises(ValueError, match=r"no image in the folders of .* ends in \.tif"):
        ImageFolder(root, endings=(".tif",))


def test_without_labels_every_image_below_the_root_is_a_record(root, png):
    (root / "top.png").write_bytes(png())
    data = ImageFolder(root, labels=False)
    assert [data[n]["id"] for n in range(len(data))] == [
        *("n01/c.jpg", "n02/b.png", "n02/in/a.PNG", "n03/d.png", "top.png")
    ]
    assert "label" not in data[0]
    assert data[0]["extras"] == {}


def test_classes_without_labels_are_refused(root):
    with pytest.raises(ValueError, match="classes are given but labels=False"):
        ImageFolder(root, ["n01"], labels=False)
