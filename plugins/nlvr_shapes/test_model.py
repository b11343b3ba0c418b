"""The encoders, and the split by sentence."""

import json
from dataclasses import replace

import pytest
import torch

from plugins.nlvr_shapes.counting_fusion import CountingFusion
from plugins.nlvr_shapes.encoder import ConvStemEncoder
from plugins.nlvr_shapes.sentence_groups import NlvrGroups
from plugins.nlvr_shapes.transforms import PickStatements
from x2vlm.data.record import RecordError
from x2vlm.models.outputs import Context, TextStates
from x2vlm.models.tower_contract import fusion_problems, vision_problems


def test_the_encoder_keeps_the_contract_of_a_vision_encoder():
    encoder = ConvStemEncoder(image_size=(40, 60), width=8, depth=1, num_heads=2, channels=(4, 4))
    assert vision_problems(encoder) == []
    assert encoder.grid == (2, 3)


def test_a_shape_changes_its_own_cell_before_the_layers_mix_them():
    encoder = ConvStemEncoder(image_size=(40, 80), width=8, depth=0, num_heads=2, channels=(4, 4)).eval()
    images = torch.zeros(2, 3, 40, 80)
    images[1, :, 8:13, 68:73] = 1  # the windows reach eight pixels into the next cell
    with torch.no_grad():
        tokens, _ = encoder(images)
    changed = (tokens[0] - tokens[1]).abs().amax(dim=-1) > 1e-5
    assert changed.tolist() == [False, False, False, True, False, False, False, False]


@pytest.mark.parametrize(("option", "message"), [({"image_size": (100, 330)}, "multiples of 20"), ({"width": 90}, "4")])
def test_a_size_that_does_not_divide_is_refused(option, message):
    with pytest.raises(ValueError, match=message):
        ConvStemEncoder(**option)


def pairs(num_cells=14, generator=None):
    """Two texts about one image of 2 x 7 cells."""
    generator = generator or torch.Generator().manual_seed(0)
    tokens = torch.randn(1, num_cells, 8, generator=generator)
    mask = torch.ones(2, num_cells, dtype=torch.bool)
    context = Context(tokens, torch.zeros(2, dtype=torch.long), mask, tokens.mean(dim=1).expand(2, -1))
    text = TextStates(torch.randn(2, 5, 8, generator=generator), torch.ones(2, 5, dtype=torch.bool))
    return text, context


def fusion():
    torch.manual_seed(0)
    return CountingFusion(8, 8, grid=(2, 7), group_columns=(3, 1), num_detectors=4, detector_width=6).eval()


def test_the_counting_fusion_keeps_the_contract_of_a_fusion_encoder():
    assert fusion_problems(CountingFusion(8, 6), 8, 6) == []


def test_the_order_of_the_groups_changes_nothing():
    text, context = pairs()
    cells = context.tokens.view(1, 2, 7, 8)
    swapped = torch.cat([cells[:, :, 4:], cells[:, :, 3:4], cells[:, :, :3]], dim=2)
    other = replace(context, tokens=swapped.flatten(1, 2))
    assert torch.allclose(fusion()(text, context), fusion()(text, other), atol=1e-6)
    moved = replace(context, tokens=cells.roll(1, dims=2).flatten(1, 2))  # cells change their group
    assert not torch.allclose(fusion()(text, context), fusion()(text, moved), atol=1e-4)


def test_what_lies_between_the_groups_and_what_is_masked_is_not_counted():
    text, context = pairs()
    changed = context.tokens.clone().view(1, 2, 7, 8)
    changed[:, :, 3] += 5
    assert torch.equal(
        fusion().count(text, context), fusion().count(text, replace(context, tokens=changed.flatten(1, 2)))
    )
    nothing = fusion().count(text, replace(context, mask=torch.zeros_like(context.mask)))
    assert not nothing.any()


def test_a_cell_that_is_there_twice_counts_twice():
    text, context = pairs()
    same = replace(context, tokens=context.tokens[:, :1].expand(-1, 14, -1))
    one = replace(same, mask=torch.arange(14).expand(2, -1) == 0)
    first_group = fusion().count(text, same)[:, 0]
    assert torch.allclose(first_group, 6 * fusion().count(text, one)[:, 0], atol=1e-5)


def test_padding_of_a_text_changes_nothing():
    text, context = pairs()
    longer = TextStates(
        torch.cat([text.embeds, torch.full((2, 3, 8), 9.0)], dim=1),
        torch.cat([text.mask, torch.zeros(2, 3, dtype=torch.bool)], dim=1),
    )
    assert torch.allclose(fusion()(text, context)[:, 0], fusion()(longer, context)[:, 0], atol=1e-6)


@pytest.mark.parametrize("batch_statistics", [True, False])
def test_statistics_of_counts_follow_the_batch_only_where_asked(batch_statistics):
    text, context = pairs()
    encoder = CountingFusion(8, 8, grid=(2, 7), group_columns=(3, 1), batch_statistics=batch_statistics).train()
    before = encoder.balance.running_mean.clone()
    trained = encoder(text, context)
    assert encoder.balance.running_mean.equal(before) != batch_statistics
    encoder.balance.running_mean.copy_(before)
    encoder.balance.running_var.fill_(1.0)
    assert torch.allclose(trained, encoder.eval()(text, context), atol=1e-5) != batch_statistics


def test_plain_text_stays_as_it_is():
    text, _ = pairs()
    assert fusion()(text, None) is text.embeds


def test_columns_without_a_whole_group_are_refused():
    with pytest.raises(ValueError, match="hold no group"):
        CountingFusion(8, 8, grid=(2, 3), group_columns=(5, 1))


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
