"""Fields of records are assigned to the texts of a batch."""

import pytest
import torch

from x2vlm.data.batch import Batch
from x2vlm.evaluation.record_fields import extras_by_text, extras_of_texts, record_of_texts


def batch(texts=0, **fields):
    ids = torch.zeros(texts, 2, dtype=torch.long) if texts else None
    return Batch(text_ids=ids, text_mask=None, **fields)


def test_texts_of_one_image_share_its_record():
    assert record_of_texts(batch(3, owner=torch.tensor([0, 0, 1]), extras=[{}, {}])) == [0, 0, 1]


def test_a_text_about_two_images_has_one_record():
    both = batch(3, owner=torch.tensor([0, 1, 0, 1, 2, 3]), text_owner=torch.arange(3).repeat_interleave(2))
    assert record_of_texts(both) == [0, 0, 1]


def test_images_without_texts_are_records():
    assert record_of_texts(batch(owner=torch.arange(2), extras=[{}, {}])) == [0, 1]


def test_plain_texts_are_assigned_by_where():
    assert record_of_texts(batch(3, where=["a:1", "a:1", "a:2"], extras=[{}, {}])) == [0, 0, 1]
    with pytest.raises(ValueError, match="3 texts but extras of 2 records"):
        record_of_texts(batch(3, where=["a:1"] * 3, extras=[{}, {}]))


def test_a_field_has_one_value_for_the_record_or_one_for_each_text():
    two = batch(3, owner=torch.tensor([0, 0, 1]), extras=[{"a": 5, "b": ["x", "y"]}, {"b": []}])
    assert extras_of_texts(two, "a") == [5, 5, None]
    assert extras_by_text(two, "b") == ["x", "y", None]
    assert extras_of_texts(batch(2), "a") == extras_by_text(batch(2), "a") == [None, None]
