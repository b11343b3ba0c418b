"""The vision encoder, the split by sentence, and one step of every config."""

import json

import numpy as np
import pytest
import torch

from plugins.nlvr_shapes.encoder import ConvStemEncoder
from plugins.nlvr_shapes.sentence_groups import NlvrGroups
from plugins.nlvr_shapes.transforms import PickStatements
from x2vlm.data.record import RecordError
from x2vlm.models.contracts import vision_problems


def test_the_encoder_keeps_the_contract_of_a_vision_encoder():
    encoder = ConvStemEncoder(image_size=(40, 60), width=8, depth=1, num_heads=2, channels=(4, 4))
    assert vision_problems(encoder) == []
    assert encoder.grid == (2, 3)


def test_a_shape_changes_its_own_cell_before_the_layers_mix_them():
    encoder = ConvStemEncoder(image_size=(40, 80), width=8, depth=0, num_heads=2, channels=(4, 4)).eval()
    images = torch.zeros(2, 3, 40, 80)
    images[1, :, 4:14, 64:74] = 1
    with torch.no_grad():
        tokens, _ = encoder(images)
    changed = (tokens[0] - tokens[1]).abs().amax(dim=-1) > 1e-5
    assert changed.tolist() == [False, False, False, True, False, False, False, False]


@pytest.mark.parametrize(("option", "message"), [({"image_size": (100, 330)}, "multiples of 20"), ({"width": 90}, "4")])
def test_a_size_that_does_not_divide_is_refused(option, message):
    with pytest.raises(ValueError, match=message):
        ConvStemEncoder(**option)


def test_every_statement_becomes_a_pair_with_its_label():
    record = {"where": "x:1", "id": "x", "statements": [("there is a box", True), ("there is no box", False)]}
    picked = PickStatements().transform(record)
    assert picked["texts"] == ["there is a box", "there is no box"] and picked["labels"] == [1, 0]
    with pytest.raises(RecordError, match="no statements"):
        PickStatements().transform({"where": "x:1", "statements": []})


def groups(folder, folds):
    lines = [
        {"identifier": f"{n}-{m}", "sentence": f"there are {n} items", "label": "true", "images": ["a.png", "b.png"]}
        for n in range(10)
        for m in range(2)
    ]
    (folder / "dev.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return NlvrGroups(folder / "dev.jsonl", folder, folds=folds)


def test_folds_share_no_sentence_and_leave_none_out(tmp_path):
    first, rest = groups(tmp_path, (0,)), groups(tmp_path, (1, 2, 3, 4))
    sentences = [{part.record(i)["caption"] for i in range(len(part))} for part in (first, rest)]
    assert not sentences[0] & sentences[1] and len(sentences[0] | sentences[1]) == 10
    assert len(first) == 8 and len(rest) == 32


@pytest.mark.parametrize("folds", [(), (5,)])
def test_a_fold_that_is_not_there_is_refused(tmp_path, folds):
    with pytest.raises(ValueError, match="folds"):
        groups(tmp_path, folds)
