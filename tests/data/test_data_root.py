from pathlib import Path

from x2vlm.data.data_root import with_data_root


def test_relative_paths_of_an_adapter_start_from_the_data_root():
    cfg = dict(type="TarShards", ann_file=["a.jsonl", "/elsewhere/b.jsonl"], captions="captions_zh")
    assert with_data_root(cfg, "/data/flickr8k") == dict(
        type="TarShards", ann_file=["/data/flickr8k/a.jsonl", "/elsewhere/b.jsonl"], captions="captions_zh"
    )


def test_files_by_language_are_paths_too():
    cfg = dict(type="ParallelText", files=dict(en="train.en", de="train.de"))
    assert with_data_root(cfg, "~")["files"] == dict(en=str(Path.home() / "train.en"), de=str(Path.home() / "train.de"))


def test_an_adapter_that_reads_no_files_is_left_alone():
    cfg = dict(type="ToyWorld", kind="image")
    assert with_data_root(cfg, "/data") == dict(type="ToyWorld", kind="image")


def test_without_a_data_root_paths_stay_as_they_are():
    cfg = dict(type="TarShards", ann_file="a.jsonl")
    assert with_data_root(cfg, None) == cfg


def test_joined_data_sets_and_files_of_transforms_start_from_the_data_root_too():
    steps = [dict(type="AnswerLabel", classes="answers.json"), dict(type="PickLabel", classes=["no", "yes"]), print]
    cfg = dict(type="Concat", datasets=[dict(type="JsonLines", ann_file="a.json", pipeline=steps)], pipeline=[])
    rooted = with_data_root(cfg, "/data")
    assert rooted == dict(
        type="Concat",
        datasets=[
            dict(
                type="JsonLines",
                ann_file="/data/a.json",
                pipeline=[dict(type="AnswerLabel", classes="/data/answers.json"), *steps[1:]],
            )
        ],
        pipeline=[],
    )
