"""Towers from weights of others: BERT (also of old TensorFlow names), BEiT-2, CLIP, Swin."""

import pytest
import torch
from safetensors.torch import save_file
from transformers import BertConfig, BertForMaskedLM, BertModel, CLIPVisionConfig, CLIPVisionModel

from x2vlm.models.fusion.encoder import CrossAttentionFusion
from x2vlm.models.text import HFTextEncoder
from x2vlm.models.vision import BEiT2
from x2vlm.weights.checkpoint_file import CheckpointError
from x2vlm.weights.tower_weights import bert_tensors, choose_layers, fill, fusion_tensors, vision_tensors

SIZES = dict(vocab_size=20, hidden_size=8, num_attention_heads=2, intermediate_size=32, max_position_embeddings=16)


@pytest.fixture(scope="module")
def bert():
    torch.manual_seed(0)
    return BertForMaskedLM(BertConfig(num_hidden_layers=4, **SIZES))


@pytest.fixture
def folder(bert, tmp_path):
    bert.save_pretrained(tmp_path / "bert")
    return str(tmp_path / "bert")


def test_twelve_layers_become_twelve_and_the_upper_six_again(bert):
    tensors = bert_tensors(bert.state_dict())
    ours = {f"text_encoder.net.{name}": value for name, value in choose_layers(tensors, range(4)).items()}
    ours |= {f"fusion_encoder.{name}": value for name, value in fusion_tensors(tensors, 2).items()}
    layers = bert.bert.encoder.layer
    for i in range(4):
        name = f"text_encoder.net.encoder.layer.{i}.attention.self.query.weight"
        assert torch.equal(ours[name], layers[i].attention.self.query.weight)
    for i in range(2):
        assert torch.equal(ours[f"fusion_encoder.layer.{i}.ffn.output.weight"], layers[2 + i].output.dense.weight)
    assert not [name for name in ours if "crossattention" in name or "cls." in name or "pooler" in name]
    model = torch.nn.ModuleDict(
        dict(
            text_encoder=HFTextEncoder(config=dict(model_type="bert", num_hidden_layers=4, **SIZES)),
            fusion_encoder=CrossAttentionFusion(width=8, context_width=4, depth=2, num_heads=2),
        )
    )
    missing, unexpected = model.load_state_dict(ours, strict=False)
    assert not unexpected
    assert missing and all("crossattention" in name for name in missing)


def test_old_tensorflow_names_are_understood(bert):
    old = {
        name.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta"): value
        for name, value in bert.state_dict().items()
    }
    assert any(name.endswith("gamma") for name in old)
    assert bert_tensors(old).keys() == bert_tensors(bert.state_dict()).keys()


def test_every_second_layer_of_a_deep_bert(bert, folder):
    layers = bert.bert.encoder.layer
    text = HFTextEncoder(path=folder, layers=range(1, 4, 2))
    assert len(text.net.encoder.layer) == 2
    for i, donor in enumerate((1, 3)):
        assert torch.equal(text.net.encoder.layer[i].output.dense.weight, layers[donor].output.dense.weight)
    assert torch.equal(text.word_embeddings, bert.bert.embeddings.word_embeddings.weight)
    assert text.pretrained_names() == {name for name, _ in text.named_parameters()}
    fusion = CrossAttentionFusion(
        width=8, context_width=4, depth=1, num_heads=2, init_from=folder, init_layers=range(1, 4, 2)
    )
    assert torch.equal(fusion.layer[0].ffn.output.weight, layers[3].output.dense.weight)


def test_layers_below_a_depth(bert, folder):
    text = HFTextEncoder(path=folder, layers=[3, 2, 1], depth=2)
    layers = bert.bert.encoder.layer
    assert torch.equal(text.net.encoder.layer[1].output.dense.weight, layers[2].output.dense.weight)
    assert len(text.net.encoder.layer) == 2


def test_layers_that_are_not_there_are_named(bert):
    with pytest.raises(CheckpointError, match=r"layers \[5\] are not among the 4 \(0 to 3\)"):
        choose_layers(bert_tensors(bert.state_dict()), [1, 3, 5])


def test_layers_without_weights_are_refused():
    with pytest.raises(ValueError, match="layers names layers of weights, but there is no path"):
        HFTextEncoder(config=dict(model_type="bert", num_hidden_layers=4, **SIZES), layers=[1])


def test_weights_of_something_else_are_refused():
    with pytest.raises(CheckpointError, match=r"of no BERT-like encoder: conv\.weight"):
        bert_tensors({"conv.weight": torch.zeros(1)})


def beit_state(**changes):
    torch.manual_seed(1)
    encoder = BEiT2(image_size=32, patch_size=16, width=16, depth=2, num_heads=2)
    state = {name: torch.randn_like(value) for name, value in encoder.net.state_dict().items()}
    renamed = {name.replace("norm.", "fc_norm.") if name.startswith("norm.") else name: v for name, v in state.items()}
    return renamed | changes


def test_beit_loses_its_class_head_and_its_unused_norm(tmp_path):
    more = {"head.weight": torch.zeros(3, 16), "head.bias": torch.zeros(3), "norm.weight": torch.zeros(16)}
    state = beit_state(**more, **{"norm.bias": torch.zeros(16)})
    state["blocks.0.attn.relative_position_index"] = torch.zeros(5, 5, dtype=torch.long)
    save_file(state, tmp_path / "beit.safetensors")
    encoder = BEiT2(32, 16, 16, depth=2, num_heads=2, checkpoint=str(tmp_path / "beit.safetensors"))
    assert torch.equal(encoder.net.norm.weight, state["fc_norm.weight"])
    assert encoder.pretrained_names() == {name for name, _ in encoder.named_parameters()}


def test_a_shared_relative_table_is_copied_into_every_block(tmp_path):
    state = {name: v for name, v in beit_state().items() if "relative_position_bias_table" not in name}
    shared = state["rel_pos_bias.relative_position_bias_table"] = torch.randn(3 * 3 + 3, 2)
    state["rel_pos_bias.relative_position_index"] = torch.zeros(5, 5, dtype=torch.long)
    torch.save({"model": state}, tmp_path / "beit.pth")
    encoder = BEiT2(32, 16, 16, depth=2, num_heads=2, checkpoint=str(tmp_path / "beit.pth"))
    for block in encoder.net.blocks:
        assert torch.equal(block.attn.relative_position_bias_table, shared)
    assert encoder.net.blocks[0].attn.relative_position_bias_table is not shared


def test_clip_of_transformers_has_the_published_names_here():
    config = CLIPVisionConfig(
        hidden_size=16, intermediate_size=24, num_hidden_layers=2, num_attention_heads=2, image_size=32, patch_size=16
    )
    state = CLIPVisionModel(config).state_dict() | {"text_model.x": torch.zeros(1), "logit_scale": torch.zeros(())}
    from x2vlm.models.vision import CLIPViT

    tower = CLIPViT(image_size=32, patch_size=16, width=16, depth=2, num_heads=2, mlp_width=24, local_attn_depth=1)
    assert fill(tower, vision_tensors(state, 2), "clip", tower.grid) == {name for name, _ in tower.named_parameters()}
    donor = next(value for name, value in state.items() if name.endswith("layers.1.self_attn.k_proj.weight"))
    assert torch.equal(tower.blocks[1].attn.key.weight, donor)


def test_swin_of_timm_and_of_its_authors_are_distinguished_by_where_patches_are_merged():
    from x2vlm.models.vision import Swin

    tower = Swin(image_size=64, first_width=16, depths=(1, 1), num_heads=(1, 2), window=4)
    state = {name.removeprefix("net."): torch.randn_like(value) for name, value in tower.state_dict().items()}
    fill(tower, vision_tensors(state, 2), "timm")
    assert torch.equal(tower.net.layers[1].downsample.norm.weight, state["layers.1.downsample.norm.weight"])
    theirs = {name.replace("layers.1.downsample", "layers.0.downsample"): value for name, value in state.items()}
    theirs["layers.0.blocks.0.attn_mask"] = torch.zeros(4, 16, 16)
    theirs["head.weight"] = torch.zeros(5, 32)
    other = Swin(image_size=64, first_width=16, depths=(1, 1), num_heads=(1, 2), window=4)
    fill(other, vision_tensors(theirs, 2), "published")
    assert all(torch.equal(a, b) for a, b in zip(tower.state_dict().values(), other.state_dict().values(), strict=True))


def test_a_tower_that_does_not_fit_says_everything_at_once():
    net = torch.nn.Linear(2, 2)
    message = r"x does not fit Linear: missing: bias; without a place: scale; of another size: weight is \(3, 3\) there"
    with pytest.raises(CheckpointError, match=message):
        fill(net, {"weight": torch.zeros(3, 3), "scale": torch.zeros(1)}, "x")


def test_text_weights_with_tensorflow_names_fill_a_text_encoder(bert, tmp_path):
    model = BertModel(BertConfig(num_hidden_layers=2, **SIZES))
    model.save_pretrained(tmp_path)
    old = {
        f"bert.{name}".replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta"): v
        + 0.5
        for name, v in model.state_dict().items()
    }
    save_file(old, tmp_path / "model.safetensors", metadata={"format": "pt"})
    text = HFTextEncoder(path=str(tmp_path))
    assert torch.equal(text.net.embeddings.LayerNorm.weight, old["bert.embeddings.LayerNorm.gamma"])
