import pytest

from x2vlm.data.datasets.file_formats.image_table import ImageTable
from x2vlm.data.record import RecordError
from x2vlm.data.transforms.images.load_crop_flip import LoadImage
from x2vlm.data.transforms.regions import PickPhrases


@pytest.fixture
def own(tmp_path, png):
    (tmp_path / "photos").mkdir()
    for name in ("a.png", "b.png"):
        (tmp_path / "photos" / name).write_bytes(png(size=(64, 48)))

    def write(captions, boxes=None):
        (tmp_path / "captions.csv").write_text(captions, encoding="utf-8")
        if boxes is not None:
            (tmp_path / "boxes.csv").write_text(boxes, encoding="utf-8")
        files = dict(
            captions_file=tmp_path / "captions.csv", boxes_file=None if boxes is None else tmp_path / "boxes.csv"
        )
        return dict(image_root=tmp_path / "photos", **files)

    return write


CAPTIONS = 'file,caption\na.png,"A dog, asleep"\nb.png,Ein Hund\na.png,Two dogs\nb.png,\n../c.png,outside\n'
BOXES = "file,phrase,x,y,width,height\na.png,the dog,4,2,20,30\na.png,all of it,0,0,64,48\n"


def test_an_image_is_one_record_whatever_number_of_lines_it_has(own):
    data = ImageTable(**own(CAPTIONS, BOXES))
    record = data.record(0)
    assert (record["id"], record["caption"]) == ("a.png", ["A dog, asleep", "Two dogs"])
    assert [elem["caption"] for elem in record["elems"]] == ["the dog", "all of it"]
    assert data.record(1)["caption"] == ["Ein Hund"] and "elems" not in data.record(1)
    with pytest.raises(RecordError, match=r"^captions\.csv:6: .*lies outside"):
        data.record(2)


def test_boxes_alone_make_records_for_grounding(own):
    files = own(CAPTIONS, BOXES) | dict(captions_file=None, pipeline=[LoadImage(), PickPhrases()])
    assert ImageTable(**files)[0]["boxes_xyxy_px"].tolist() == [[4, 2, 24, 32], [0, 0, 64, 48]]


@pytest.mark.parametrize("sign", [";", "\t"])
def test_what_a_spreadsheet_puts_between_columns_is_seen(own, sign):
    data = ImageTable(**own(f"\ufeffPhoto{sign}Title\na.png{sign}a dog\n"), columns=dict(file="Photo", caption="Title"))
    assert data.record(0)["caption"] == ["a dog"]


def test_missing_headings_are_told_with_what_is_there(own):
    with pytest.raises(
        ValueError, match=r"captions_file: .*captions\.csv has no column file, caption; .*: a\.png, a dog\."
    ):
        ImageTable(**own("a.png,a dog\n"))


def test_a_box_that_is_no_number_costs_its_element_alone(own):
    files = own(CAPTIONS, BOXES + "a.png,half,left,0,1,1\n")
    found = ImageTable(**files, pipeline=[LoadImage(), PickPhrases()])[0]
    assert (len(found["texts"]), found["extras"]["dropped_boxes"]) == (2, 1)


def test_tables_that_say_nothing_are_refused(own):
    with pytest.raises(ValueError, match="names a file and says something of it"):
        ImageTable(**own("file,caption\na.png,\n"))
    with pytest.raises(ValueError, match="needs captions_file, boxes_file or both"):
        ImageTable(own(CAPTIONS)["image_root"])
