from x2vlm.data.datasets.file_formats.jsonl import JsonLines
from x2vlm.data.inspection.map_records import map_records
from x2vlm.data.inspection.record_facts import ExtractFacts, facts_of
from x2vlm.data.record import RecordError
from x2vlm.data.transforms.images.load_crop_flip import LoadImage


def lines(write_lines, png, tmp_path, *more):
    (tmp_path / "a.png").write_bytes(png(size=(8, 6)))
    (tmp_path / "broken.png").write_bytes(png()[:30])
    return write_lines({"image": "a.png", "caption": "a red card", "image_id": "1"}, *more)


def test_an_image_is_decoded_where_there_is_no_pipeline(write_lines, png, tmp_path):
    data = JsonLines(lines(write_lines, png, tmp_path, {"image": "broken.png", "caption": "x"}))
    good, bad = map_records(data, ExtractFacts())
    assert (good.value.size, good.value.words) == ((8, 6), [3])
    assert bad.bad.where == "train.jsonl:2"
    assert data.pipeline == []  # as it was


def test_a_pipeline_judges_as_training_would(write_lines, png, tmp_path):
    def refuse(record):
        raise RecordError(record["where"], f"{record['caption']} is refused")

    data = JsonLines(lines(write_lines, png, tmp_path), pipeline=[LoadImage(), refuse])
    (results,) = map_records(data, ExtractFacts())
    assert results.bad.reason == "a red card is refused"


def test_facts_count_texts_in_every_shape_and_boxes_that_fit():
    record = {
        "id": "1",
        "caption": {"en": ["a dog", "two big dogs"], "de": "Hund"},
        "elems": [
            {"bb": [0, 0, 4, 3], "caption": "a", "kind": "object"},
            {"bb": [7, 0, 5, 3], "caption": "outside"},
            {"caption": "no box"},
        ],
    }
    facts = facts_of(record, (8, 6))
    assert facts.words == [2, 3, 1]
    assert facts.languages == ["en", "en", "de"]
    assert facts.boxes == [(4.0, 3.0, 0.25)]
    assert [text.split(":")[0] for text in facts.unusable] == ["elems[1] 'outside'", "elems[2] 'no box'"]
    assert facts.kinds == ["object", "not said", "not said"]
