"""Filling models from published and own weights: what is loaded, copied, resized, refused."""

import json

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from x2vlm.engine.optim.param_groups import X2VLMOptimConstructor
from x2vlm.models.x2vlm import X2VLM
from x2vlm.weights import CheckpointError, Loading, from_published, load_into
from x2vlm.weights.missing_parts import decoder_layers
from x2vlm.weights.published_names import our_name
from x2vlm.weights.relative_positions import resize_relative_table

TEXT = dict(vocab_size=200, hidden_size=48, num_attention_heads=4, intermediate_size=96, max_position_embeddings=64)
PRETRAINING = dict(itc=dict(type="ITC"), itm=dict(type="ITM"), mlm=dict(type="MLM"), bbox=dict(type="BBox"))
CLASSES = dict(classification=dict(type="Classification", num_classes=3))


@pytest.fixture(scope="module")
def golden(shared):
    path = shared / "golden" / "a_pretrain_beit2_bert.safetensors"
    state = {name[6:]: value for name, value in load_file(path).items() if name.startswith("state.")}
    return state, json.loads(path.with_suffix(".json").read_text())


def tiny(objectives=PRETRAINING, image_size=64, text_layers=4, **changes):
    torch.manual_seed(0)
    parts = dict(
        vision_encoder=dict(type="BEiT2", image_size=image_size, width=64, depth=3, num_heads=4),
        text_encoder=dict(type="HFTextEncoder", config=dict(model_type="bert", num_hidden_layers=text_layers, **TEXT)),
        fusion_encoder=dict(type="CrossAttentionFusion", depth=2, num_heads=4, mlp_width=96),
        embed_dim=32,
        num_frames=3,
    )
    return X2VLM(objectives=objectives, **(parts | changes))


def state_of(model):
    return {name: value.clone() for name, value in model.state_dict().items()}


def test_a_published_checkpoint_fills_the_whole_model(golden):
    model = tiny()
    report = load_into(model, golden[0], complete=True)
    assert set(report.loaded) == set(model.state_dict())
    assert not report.missing and not report.unexpected and not report.left_out
    assert report.kind == "XVLM"
    assert report.converted["fusion_encoder.layer.1.ffn.output.weight"] == (
        "text_encoder.bert.encoder.layer.5.output.dense.weight"
    )
    for name, value in from_published(golden[0]).items():
        assert torch.equal(model.state_dict()[name], value), name
    assert model.fresh_parameters() == set()


def test_fine_tuning_at_another_size_resizes_what_depends_on_it(golden):
    model = tiny(image_size=96, num_frames=5)
    before = state_of(model)
    report = load_into(model, golden[0])
    frames = model.frame_positions
    assert torch.equal(frames[:, :3], golden[0]["absolute_frame_pos_embed"])
    assert torch.equal(frames[:, 3:], before["frame_positions"][:, 3:])
    for i in range(3):
        name = f"blocks.{i}.attn.relative_position_bias_table"
        table = golden[0][f"vision_encoder.{name}"]
        assert torch.equal(
            model.state_dict()[f"vision_encoder.net.{name}"], resize_relative_table(table, (4, 4), (6, 6))
        )
    assert set(report.resized) == {"frame_positions"} | {
        f"vision_encoder.net.blocks.{i}.attn.relative_position_bias_table" for i in range(3)
    }
    assert model.fresh_parameters() == {"frame_positions"}  # counts as new, as published


def test_fewer_frames_are_the_first_ones_and_count_as_new_too(golden):
    model = tiny(num_frames=2)
    load_into(model, golden[0], complete=True)
    assert torch.equal(model.frame_positions, golden[0]["absolute_frame_pos_embed"][:, :2])
    assert model.fresh_parameters() == {"frame_positions"}


def test_images_that_are_not_square_are_resized_by_their_grid(golden):
    model = tiny(image_size=(64, 96))
    load_into(model, golden[0])
    name = "blocks.0.attn.relative_position_bias_table"
    expected = resize_relative_table(golden[0][f"vision_encoder.{name}"], (4, 4), (4, 6))
    assert torch.equal(model.state_dict()[f"vision_encoder.net.{name}"], expected)


def test_a_new_head_has_to_be_allowed_by_name(golden):
    with pytest.raises(CheckpointError, match=r"missing: objectives\.classification(.|\n)*allow_missing=\['objectives"):
        load_into(tiny(CLASSES, embed_dim=None, num_frames=0), golden[0])
    model = tiny(CLASSES, embed_dim=None, num_frames=0)
    report = load_into(model, golden[0], Loading(allow_missing=["objectives.classification"]))
    assert all(name.startswith("objectives.classification.head.") for name in report.missing)
    assert model.fresh_parameters() == set(report.missing)
    assert len(report.missing) == 6
    parts = {"frame_positions", "temperature", "text_proj", "vision_proj"}
    assert {name.split(".")[0] for name in report.left_out} == parts | {"objectives"}


def test_nothing_may_be_missing_where_a_model_is_only_used(golden):
    with pytest.raises(CheckpointError, match=r"missing: objectives\.classification"):
        load_into(tiny(CLASSES), golden[0], Loading(allow_missing=["*"]), complete=True)


def test_an_extra_tensor_is_reported_and_has_to_be_allowed(golden):
    extra = golden[0] | {"vision_encoder.extra": torch.zeros(1), "mystery": torch.zeros(1)}
    with pytest.raises(CheckpointError, match=r"without a place in the model: vision_encoder\.net\.extra, mystery"):
        load_into(tiny(), extra)
    report = load_into(tiny(), extra, Loading(allow_unexpected=["mystery", "vision_encoder.*.extra"]))
    assert report.unexpected == ["vision_encoder.net.extra", "mystery"]


def test_a_layer_too_many_is_not_left_out_silently(golden):
    deeper = golden[0] | {
        name.replace("blocks.2.", "blocks.3."): value for name, value in golden[0].items() if ".blocks.2." in name
    }
    with pytest.raises(CheckpointError, match=r"without a place in the model: vision_encoder\.net\.blocks\.3\."):
        load_into(tiny(), deeper)


def test_a_tensor_of_another_size_is_reported_with_both_shapes(golden):
    message = (
        r"of another size: text_proj\.bias is 32 there and 16 here; text_proj\.weight is 32x48 there and 16x48 here"
    )
    with pytest.raises(CheckpointError, match=message):
        load_into(tiny(embed_dim=16), golden[0])


def test_weights_of_another_model_are_reported(golden):
    with pytest.raises(CheckpointError, match="has no parameter of this config's model: it is of another model"):
        load_into(nn.Linear(2, 2), golden[0])


def test_weights_of_another_size_alone_are_told_by_their_shapes():
    message = r"with its shape: it is of a model of another size\. weight is \[3, 2\] there and \[2, 2\] here"
    with pytest.raises(CheckpointError, match=message):
        load_into(nn.Linear(2, 2), {"weight": torch.zeros(3, 2), "bias": torch.zeros(3)})


def test_a_failed_load_leaves_the_model_as_it_was(golden):
    model = tiny()
    before = state_of(model)
    with pytest.raises(CheckpointError):
        load_into(model, golden[0] | {"mystery": torch.zeros(1)})
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())


def test_captions_are_written_by_the_head_of_masked_words(golden):
    model = tiny(dict(caption=dict(type="MLM")), embed_dim=None, num_frames=0)  # the same parts under another name
    report = load_into(model, golden[0], complete=True)
    theirs = golden[0]["text_encoder.cls.predictions.transform.dense.weight"]
    assert torch.equal(model.objectives["caption"].dense.weight, theirs)
    assert report.copied["objectives.caption.bias"] == "objectives.mlm.bias"
    assert model.fresh_parameters() == set()


def answering(depth):
    decoder = dict(depth=depth, num_heads=4, mlp_width=96, max_positions=64)
    return tiny(dict(answer=dict(type="AnswerGeneration", decoder=decoder)), embed_dim=None, num_frames=0)


@pytest.mark.parametrize(("depth", "donors"), [(2, [4, 5]), (1, [5])])
def test_an_answer_decoder_begins_as_the_fusion_layers(depth, donors, golden):
    model = answering(depth)
    before = state_of(model)
    load_into(model, golden[0])
    decoder = model.objectives["answer"].decoder
    for layer, donor in zip(decoder.layer, donors, strict=True):
        theirs = {
            name.split(f"layer.{donor}.")[1]: value for name, value in golden[0].items() if f".layer.{donor}." in name
        }
        assert torch.equal(layer.attention.query.weight, theirs["attention.self.query.weight"])
        assert torch.equal(layer.crossattention.query.weight, theirs["crossattention.self.query.weight"])
        assert torch.equal(layer.crossattention.LayerNorm.bias, theirs["crossattention.output.LayerNorm.bias"])
        assert torch.equal(layer.ffn.output.weight, theirs["output.dense.weight"])
    text = golden[0]["text_encoder.bert.embeddings.word_embeddings.weight"]
    assert torch.equal(decoder.embeddings.word_embeddings.weight, text)
    assert torch.equal(decoder.bias, golden[0]["text_encoder.cls.predictions.bias"])
    assert torch.equal(decoder.dense.weight, golden[0]["text_encoder.cls.predictions.transform.dense.weight"])
    new = model.fresh_parameters()
    assert new == {  # images are 64 wide, the question 48
        f"objectives.answer.decoder.layer.{i}.crossattention.{part}.{kind}"
        for i in range(depth)
        for part in ("key", "value")
        for kind in ("weight", "bias")
    }
    assert all(torch.equal(model.state_dict()[name], before[name]) for name in new)


def test_a_whole_decoder_can_count_as_new_as_in_the_published_recipe(golden):
    model = answering(2)
    load_into(model, golden[0], Loading(fresh=["objectives.answer.decoder"]))
    names = {name for name, _ in model.named_parameters() if name.startswith("objectives.answer.decoder.")}
    assert model.fresh_parameters() == names


def test_a_decoder_takes_all_fusion_layers_or_every_second():
    assert decoder_layers(6, 6) == [0, 1, 2, 3, 4, 5]
    assert decoder_layers(6, 3) == [1, 3, 5]  # layers 13, 15, 17 of the published model
    with pytest.raises(CheckpointError, match=r"cannot be initialised from 6 fusion layers.*Set its depth to 6 or 3"):
        decoder_layers(6, 4)


def test_a_text_encoder_is_swapped_and_everything_else_kept(golden):
    other = dict(
        type="HFTextEncoder",
        config=dict(
            model_type="xlm-roberta",
            num_hidden_layers=2,
            type_vocab_size=1,
            pad_token_id=1,
            **TEXT | dict(vocab_size=90),
        ),
    )
    objectives = PRETRAINING | dict(mlm=dict(type="MLM", tied=False, layer_norm_eps=1e-5))
    model = tiny(objectives, text_encoder=other)
    before = state_of(model)
    loading = Loading(skip=["text_encoder", "objectives.mlm.bias"], allow_missing=["objectives.mlm.decoder"])
    report = load_into(model, golden[0], loading)
    after = model.state_dict()
    kept = {
        name for name in before if name.startswith(("text_encoder.", "objectives.mlm.decoder", "objectives.mlm.bias"))
    }
    assert all(torch.equal(after[name], before[name]) for name in kept)
    assert set(report.loaded) == set(before) - kept
    assert "objectives.mlm.dense.weight" in report.loaded
    assert "text_proj.weight" in report.loaded


def test_a_mask_token_that_is_not_needed_is_left_out(golden):
    report = load_into(tiny(), golden[0] | {"vision_encoder.mask_token": torch.zeros(1, 1, 64)}, complete=True)
    assert report.left_out == ["vision_encoder.net.mask_token"]


def test_the_optimizers_groups_are_the_published_ones_name_for_name(golden):
    """A pre-training run: towers come with weights, `init_params` learn twice as fast (SPEC 4)."""
    state, info = golden
    model = tiny()
    fresh = {our_name(name, 4) for name in info["init_params"]}
    model.set_fresh_parameters(fresh)
    constructor = X2VLMOptimConstructor(
        dict(optimizer=dict(type="AdamW", lr=1e-4, weight_decay=0.01)), paramwise_cfg=dict(lr_mult=2.0)
    )
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    groups = {group["name"]: {names[id(p)] for p in group["params"]} for group in constructor.groups(model)}
    no_decay = ("bias", "LayerNorm.bias", "LayerNorm.weight", "norm.bias", "norm.weight", "norm1", "norm2")
    expected = {}
    for published in state:
        if (ours := our_name(published, 4)) is None:
            continue
        kind = "fresh" if published in info["init_params"] else "base"
        decay = "no_decay" if any(part in published for part in no_decay) else "decay"
        expected.setdefault(f"{kind}/{decay}", set()).add(ours)
    assert groups == expected


def test_the_report_can_be_read(golden):
    text = str(load_into(tiny(image_size=96), golden[0]))
    assert text.startswith("loaded 197 of 197 tensors from the given tensors (published XVLM, names converted): ")
    assert "text_encoder 69" in text
    assert "resized 3: vision_encoder.net.blocks.0.attn.relative_position_bias_table 52x4 -> 124x4" in text


def test_own_weights_fill_a_model_for_larger_images():
    small, large = tiny(), tiny(image_size=96)
    report = load_into(large, state_of(small))
    assert report.kind == ""
    assert len(report.resized) == 3
    assert torch.equal(large.text_proj.weight, small.text_proj.weight)


def test_a_decoder_takes_no_rows_of_words_from_another_vocabulary(golden):
    decoder = dict(depth=2, num_heads=4, mlp_width=96, max_positions=64)
    model = tiny(dict(answer=dict(type="AnswerGeneration", decoder=decoder)), embed_dim=None, num_frames=0)
    before = model.objectives["answer"].decoder.embeddings.word_embeddings.weight.clone()
    loading = Loading(skip=("text_encoder",), allow_missing=("objectives.answer",))
    report = load_into(model, golden[0], loading)
    decoder = model.objectives["answer"].decoder
    assert torch.equal(decoder.embeddings.word_embeddings.weight, before)
    assert not decoder.bias.any()
    assert "objectives.answer.decoder.bias" in report.missing
    assert torch.equal(decoder.dense.weight, golden[0]["text_encoder.cls.predictions.transform.dense.weight"])


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_refused_before_a_run_blames_its_records(value):
    state = state_of(tiny())
    state["text_proj.weight"][0, 0] = value
    model = tiny()
    before = state_of(model)
    with pytest.raises(CheckpointError, match=r"weight text_proj\.weight is not finite.*Use an earlier checkpoint"):
        load_into(model, state)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
