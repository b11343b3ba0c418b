from x2vlm.data.datasets.file_formats.jsonl import JsonLines
from x2vlm.data.inspection.decode_media import DecodeMedia
from x2vlm.data.inspection.map_records import map_records
from x2vlm.data.inspection.record_facts import ExtractFacts


def lines(write_lines, png, tmp_path, *more):
    (tmp_path / "a.png").write_bytes(png(size=(8, 6)))
    (tmp_path / "broken.png").write_bytes(png()[:30])
    return write_lines({"image": "a.png", "caption": "a red card", "image_id": "1"}, *more)


def test_frames_of_a_video_are_decoded(write_lines, png, tmp_path):
    data = JsonLines(lines(write_lines, png, tmp_path, {"frames": ["a.png", "a.png"], "caption": "x"}))
    assert DecodeMedia(num_frames=2)(data.record(1))["frames"][0].shape == (6, 8, 3)
    assert list(map_records(data, ExtractFacts()))[1].value.size == (8, 6)
