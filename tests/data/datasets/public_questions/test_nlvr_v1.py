import pickle
import tarfile

import numpy as np
import pytest

from x2vlm.data.datasets.public_questions.nlvr_v1 import NlvrV1
from x2vlm.data.io.image_decoding import decode_image
from x2vlm.data.record import RecordError
from x2vlm.data.transforms.labels import PickLabel
from x2vlm.data.transforms.texts.text_transforms import PickCaption


def item(x, y, size=10, kind="square", color="Yellow"):
    return {"x_loc": x, "y_loc": y, "size": size, "type": kind, "color": color}


BOXES = [
    [item(5, 6), item(40, 50, 30, "circle", "Black")],
    [item(0, 0, 20, "triangle", "#0099ff")],
    [item(70, 80), item(1, 2, 20, "square", "Black")],
]
TRUE = {
    "sentence": "There is a yellow square.",
    "label": "true",
    "identifier": "12-0",
    "structured_rep": BOXES,
    "images": [f"dev/dev-12-0-{k}.png" for k in range(6)],
}
FALSE = {**TRUE, "sentence": "There is none.", "label": "false", "identifier": "12-1", "images": ["dev/dev-12-1-0.png"]}
SINGLE = {"sentence": "It is so.", "label": "true", "identifier": "7-3", "permutation": 4, "images": ["t.png"]}


@pytest.fixture
def tar(write_tar, png):
    names = [*TRUE["images"], *FALSE["images"], *SINGLE["images"]]
    return write_tar(*((name, png((9, 9, 9, 255), (400, 100), "RGBA")) for name in names))


def test_every_image_of_a_true_sentence_is_a_record(write_lines, tar):
    data = NlvrV1(write_lines(TRUE, FALSE), tar)
    assert [data.record(i)["id"] for i in range(len(data))] == [f"12-0-{k}" for k in range(6)]
    record = data.record(2)
    assert record["caption"] == "There is a yellow square."
    assert record["extras"] == {"label": True, "identifier": "12-0", "picture": 2}
    assert decode_image(record["image"], "w").shape == (100, 400, 3)


def test_false_sentences_come_with_their_label_if_requested(write_lines, tar):
    data = NlvrV1(write_lines(TRUE, FALSE), tar, only_true=False)
    assert [data.record(i)["extras"]["label"] for i in range(len(data))] == [True] * 6 + [False]
    data = NlvrV1(write_lines(TRUE, FALSE), tar, only_true=False, pipeline=[PickCaption(), PickLabel()])
    assert [(data[i]["texts"], data[i]["labels"]) for i in (0, 6)] == [
        (["there is a yellow square"], [1]),
        (["there is none"], [0]),
    ]


def test_objects_lie_where_the_order_of_the_image_puts_them(write_lines, tar):
    data = NlvrV1(write_lines(TRUE), tar)
    boxes = {order: [elem["bb"] for elem in data.record(order)["elems"]] for order in (0, 3)}
    assert boxes[0] == [(5, 6, 10, 10), (40, 50, 30, 30), (150, 0, 20, 20), (370, 80, 10, 10), (301, 2, 20, 20)]
    # the fourth order is (1, 2, 0): the second box comes first
    assert boxes[3] == [(0, 0, 20, 20), (220, 80, 10, 10), (151, 2, 20, 20), (305, 6, 10, 10), (340, 50, 30, 30)]


def test_objects_are_named_by_size_colour_and_type(write_lines, tar):
    elems = NlvrV1(write_lines(TRUE), tar).record(0)["elems"]
    assert [f"{elem['attributes']} {elem['caption']}" for elem in elems[:3]] == [
        "small yellow square",
        "big black circle",
        "medium blue triangle",
    ]
    assert {elem["kind"] for elem in elems} == {"object"}


def test_objects_that_share_their_name_can_be_left_out(write_lines, tar):
    names = [elem["attributes"] for elem in NlvrV1(write_lines(TRUE), tar, ambiguous=False).record(0)["elems"]]
    assert names == ["big black", "medium blue", "medium black"]


def test_examples_of_which_no_object_can_be_named_are_left_out_with_them(write_lines, tar):
    twins = [{"x_loc": 0, "y_loc": 0, "size": 10, "type": "square", "color": "Black"}] * 2
    lines = write_lines(TRUE | {"structured_rep": [twins, [], []]}, TRUE)
    assert len(NlvrV1(lines, tar)) == 12
    data = NlvrV1(lines, tar, ambiguous=False)
    assert len(data) == 6
    assert all(data.record(i)["elems"] for i in range(6))


def test_some_of_the_images_can_be_chosen_by_their_order(write_lines, tar):
    data = NlvrV1(write_lines(TRUE, SINGLE), tar, pictures=[0, 4])
    assert [data.record(i)["id"] for i in range(len(data))] == ["12-0-0", "12-0-4", "7-3-4"]


def test_an_example_without_structure_has_no_objects(write_lines, tar):
    record = NlvrV1(write_lines(SINGLE), tar).record(0)
    assert (record["elems"], record["extras"]["picture"]) == ([], 4)


def test_images_can_lie_in_a_folder(write_lines, tar, tmp_path):
    with tarfile.open(tar) as opened:
        opened.extractall(tmp_path / "images", filter="data")
    data = NlvrV1(write_lines(TRUE), tmp_path / "images")
    assert data.record(0)["image"] == tmp_path / "images" / "dev" / "dev-12-0-0.png"


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("{broken", "broken JSON"),
        ({"sentence": "a"}, "not an example of NLVR v1"),
        ({**TRUE, "structured_rep": [[item(0, 0, color="Red")], [], []]}, "not an example of NLVR v1"),
        ({**TRUE, "label": "maybe"}, "not an example of NLVR v1"),
        ({**TRUE, "images": ["gone.png"]}, r"no member 'gone\.png'"),
    ],
)
def test_what_is_wrong_with_a_record_is_reported_and_the_next_is_read(write_lines, tar, line, reason):
    data = NlvrV1(write_lines(line, SINGLE), tar)
    with pytest.raises(RecordError, match=rf"^train\.jsonl:1: {reason}"):
        data.record(0)
    assert data.record(len(data) - 1)["id"] == "7-3-4"


def test_missing_images_are_reported_at_the_start(write_lines, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"images: .*gone\.tar does not exist"):
        NlvrV1(write_lines(TRUE), tmp_path / "gone.tar")
    (tmp_path / "a.tar").write_bytes(b"x" * 600)
    with pytest.raises(ValueError, match=r"images: .*not a plain tar"):
        NlvrV1(write_lines(TRUE), tmp_path / "a.tar")


@pytest.mark.parametrize("pictures", [[6], [], [-1]])
def test_orders_that_do_not_exist_are_refused(write_lines, tar, pictures):
    with pytest.raises(ValueError, match="expected numbers from 0 to 5"):
        NlvrV1(write_lines(TRUE), tar, pictures=pictures)


def test_subsets_and_other_processes(write_lines, tar):
    data = NlvrV1(write_lines(TRUE), tar, subset=dict(exclude_ids=["12-0-0"], stop=3))
    assert [data.record(i)["id"] for i in range(len(data))] == ["12-0-1", "12-0-2"]
    assert pickle.loads(pickle.dumps(data)).record(0) == data.record(0)


@pytest.mark.parametrize(
    ("split", "true", "all_examples"),
    [("dev", 547 * 6, 989 * 6), ("hidden", 546 * 6, 985 * 6), ("train_examples", 587, 1000)],
)
def test_the_real_splits_have_their_images(shared, split, true, all_examples):
    files = [shared / "data" / "nlvr_v1" / f"{split}{end}" for end in (".jsonl", "_images.tar")]
    assert len(NlvrV1(*files)) == true
    assert len(NlvrV1(*files, only_true=False)) == all_examples


def test_the_real_boxes_hold_the_colour_of_their_objects(shared):
    rgb = {"yellow": (255, 255, 0), "black": (0, 0, 0), "blue": (0, 153, 255)}
    files = [shared / "data" / "nlvr_v1" / f"dev{end}" for end in (".jsonl", "_images.tar")]
    data = NlvrV1(*files, only_true=False)
    for index in range(0, len(data), 97):  # all six orders come up
        record = data.record(index)
        image = decode_image(record["image"], "w")
        coloured = np.zeros(image.shape[:2], bool)
        for elem in record["elems"]:
            x, y, width, height = map(int, elem["bb"])
            middle = image[y + height // 2 + 1, x + width // 2]
            assert tuple(middle) == rgb[elem["attributes"].split()[1]], (record["id"], elem)
            coloured[y : y + height, x : x + width] = True
        grey = (image[..., 0] == image[..., 1]) & (image[..., 1] == image[..., 2]) & (image[..., 0] > 100)
        assert grey[~coloured].all()
