import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from torchvision import transforms as torchvision_transforms

from tests.data.transforms.image_records import noise, record, with_bright
from x2vlm.data.record import RecordError
from x2vlm.data.transforms.images.load_crop_flip import LoadImage, Resize
from x2vlm.data.transforms.pack_sample import CLIP_MEAN, CLIP_STD, PackSample


def test_pixels_equal_those_of_torchvision():
    sample = PackSample()(record())
    to_tensor, normalise = torchvision_transforms.ToTensor(), torchvision_transforms.Normalize(CLIP_MEAN, CLIP_STD)
    assert torch.equal(sample.pixels, normalise(to_tensor(Image.fromarray(noise()))))
    assert sample.pixels.is_contiguous()


@given(st.integers(1, 9), st.integers(1, 9), st.booleans())
def test_pixels_of_any_shape_equal_those_of_torchvision(height, width, mirrored):
    frame = noise(height, width)[:, :: -1 if mirrored else 1]
    to_tensor, normalise = torchvision_transforms.ToTensor(), torchvision_transforms.Normalize(CLIP_MEAN, CLIP_STD)
    assert torch.equal(PackSample()(record(frame)).pixels, normalise(to_tensor(frame.copy())))


def test_every_level_becomes_what_torchvision_makes_of_it():
    levels = np.arange(256, dtype=np.uint8).reshape(16, 16, 1).repeat(3, axis=2)
    to_tensor, normalise = torchvision_transforms.ToTensor(), torchvision_transforms.Normalize(CLIP_MEAN, CLIP_STD)
    assert torch.equal(PackSample()(record(levels)).pixels, normalise(to_tensor(levels)))


def test_mean_and_deviation_can_be_given():
    sample = PackSample(mean=(0, 0, 0), std=(0.5, 0.5, 0.5))(record(np.full((2, 2, 3), 255, np.uint8)))
    assert sample.pixels.tolist() == torch.full((3, 2, 2), 2.0).tolist()


def test_views_and_read_only_frames_are_packed_without_a_warning(recwarn):
    frame = np.asarray(Image.fromarray(noise()))
    for view in (frame, frame[:, ::-1], frame[2:5, 3:]):
        PackSample()(record(view))
    assert not recwarn.list


def test_boxes_become_shares_of_the_frame():
    results = record(boxes=[[3, 0, 6, 9.001]], texts=["a", "b"][:1])
    sample = PackSample()(results)
    torch.testing.assert_close(sample.boxes_xyxy, torch.tensor([[0.25, 0, 0.5, 1]]))
    assert sample.has_box.tolist() == [True]
    whole = PackSample()(record(extras={"a": 1}))
    assert (whole.boxes_xyxy.tolist(), whole.has_box.tolist()) == ([[0, 0, 1, 1]], [False])
    assert (whole.where, whole.texts, whole.ids, whole.extras) == ("train.jsonl:17", ["a dog"], ["id0"], {"a": 1})


def test_a_clip_keeps_its_frames_apart_even_if_there_is_one():
    for frames in ([noise()], [noise(seed=1), noise(seed=2)]):
        sample = PackSample()(record(*frames, video="a.mp4"))
        assert sample.pixels.shape == (len(frames), 3, 9, 12)


def test_a_text_without_an_image_has_neither_pixels_nor_boxes():
    fields = {"where": "w", "texts": ["dog"], "ids": ["1"], "has_box": [False], "context_text": "Hund"}
    sample = PackSample()(fields)
    assert (sample.pixels, sample.boxes_xyxy, sample.has_box, sample.context_text) == (None, None, None, "Hund")


def test_predicted_shares_map_back_to_the_original_image():
    image = with_bright([30, 20, 60, 50])
    results = LoadImage()({"where": "w", "image": image})
    results = Resize(48)(record(results["frames"][0], boxes=[[30, 20, 60, 50]], extras=results["extras"]))
    sample = PackSample()(results)
    height, width = sample.extras["image_size"]
    assert (sample.boxes_xyxy[0] * torch.tensor([width, height] * 2)).tolist() == pytest.approx([30, 20, 60, 50])


def test_half_a_surrogate_pair_is_an_error_of_its_record():
    frames = [np.zeros((4, 4, 3), np.uint8)]
    record = {"where": "a:1", "frames": frames, "texts": ["a \ud83d dog"], "has_box": [False], "ids": ["1"]}
    record["boxes_xyxy_px"] = np.array([[0, 0, 4, 4]], np.float32)
    with pytest.raises(RecordError, match="a:1: a text holds half a surrogate pair"):
        PackSample()(record)
