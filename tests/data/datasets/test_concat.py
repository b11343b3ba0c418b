import pytest

from x2vlm.building import build
from x2vlm.data.datasets.concat import Concat
from x2vlm.data.datasets.file_formats.jsonl import JsonLines
from x2vlm.data.record import RecordError
from x2vlm.registry import DATASETS


@pytest.fixture
def part(write_lines):
    def part(name, count, **options):
        lines = [{"image": f"{n}.png", "question": f"{name} {n}?", "answer": "Yes"} for n in range(count)]
        return dict(type="JsonLines", ann_file=str(write_lines(*lines, name=f"{name}.jsonl")), **options)

    return part


def questions(data):
    return [data[n]["question"] for n in range(len(data))]


def test_data_sets_follow_each_other(part):
    data = build(DATASETS, dict(type="Concat", datasets=[part("a", 2), part("b", 1)]))
    assert questions(data) == ["a 0?", "a 1?", "b 0?"]
    assert [data.record(n)["where"] for n in range(3)] == ["a.jsonl:1", "a.jsonl:2", "b.jsonl:1"]
    with pytest.raises(IndexError, match="Concat has no record 3"):
        data[3]


def test_some_data_sets_come_more_often_than_others(part):
    data = Concat([part("a", 1), part("b", 2)], times=(3, 1))
    assert questions(data) == ["a 0?", "a 0?", "a 0?", "b 0?", "b 1?"]
    with pytest.raises(ValueError, match="for each of the 2 data sets"):
        Concat([part("a", 1), part("b", 2)], times=(0.5, 1))


def test_every_data_set_has_its_own_pipeline_and_all_share_what_follows(part):
    picked = [dict(type="PickQuestion")]
    train, genome = (
        part("a", 1, pipeline=picked),
        part("b", 1, pipeline=[*picked, dict(type="PickAnswers", weight=0.5)]),
    )
    data = Concat([train, genome])
    assert "text_answers" not in data[0] and data[1]["text_answers"] == [[("Yes", 0.5)]]
    shared = Concat([part("a", 1), part("b", 1)], pipeline=[*picked, dict(type="PackSample")])
    assert [shared[n].texts for n in range(2)] == [["a 0"], ["b 0"]]


def test_a_bad_record_is_named_by_its_own_data_set(part, write_lines):
    broken = JsonLines(write_lines("{", name="c.jsonl"))
    with pytest.raises(RecordError, match=r"c\.jsonl:1: broken JSON"):
        Concat([part("a", 1), broken], pipeline=[dict(type="PackSample")])[1]


def test_no_data_set_is_reported():
    with pytest.raises(ValueError, match="datasets is empty"):
        Concat([])


def test_equal_identities_of_different_data_sets_are_kept_apart_unless_they_are_joined(part):
    steps = [dict(type="PickQuestion"), dict(type="PackSample")]
    parts = [part("a", 1, pipeline=steps), part("b", 1, pipeline=steps)]
    apart, joined = Concat(parts), Concat(parts, join_ids=True)
    assert [apart.record(n)["id"] for n in range(2)] == ["0/0.png", "1/0.png"]
    assert [apart.record(n)["own_id"] for n in range(2)] == ["0.png", "0.png"]
    assert [apart[n].ids for n in range(2)] == [["0/0.png"], ["1/0.png"]]
    assert [joined[n].ids for n in range(2)] == [["0.png"], ["0.png"]]


def test_identities_of_a_shared_pipeline_are_kept_apart_too(part):
    shared = Concat([part("a", 1), part("b", 1)], pipeline=[dict(type="PickQuestion"), dict(type="PackSample")])
    assert [shared[n].ids for n in range(2)] == [["0/0.png"], ["1/0.png"]]


def test_a_data_set_that_lost_much_of_the_published_one_is_told(caplog):
    caplog.set_level("INFO", logger="mmengine")
    from mmengine.logging import MMLogger

    logger = MMLogger.get_instance("concat", log_level="INFO")
    logger.addHandler(caplog.handler)
    from x2vlm.data.datasets.concat import Concat
    from x2vlm.data.toy.world import ToyWorld

    worlds = [ToyWorld(kind="image", num_scenes=size) for size in (9, 3)]
    Concat(worlds, names=("coco", "sbu"), images=(10, 10))
    told = [record.getMessage() for record in caplog.records]
    assert "coco: 9 records, 1 times an epoch; published: 10 images." in told
    assert "sbu: 3 records, 1 times an epoch; published: 10 images. It is much smaller than that." in told


def test_names_must_be_as_many_as_data_sets():
    from x2vlm.data.datasets.concat import Concat
    from x2vlm.data.toy.world import ToyWorld

    with pytest.raises(ValueError, match="names has 1 entries for 2 data sets"):
        Concat([ToyWorld(kind="image", num_scenes=2)] * 2, names=("coco",))
