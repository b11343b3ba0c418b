import pytest
import torch
from transformers import BertConfig, BertModel

from tests.models.conftest import image_batch, region_batch, tiny_model
from x2vlm.models.fusion.encoder import CrossAttentionFusion
from x2vlm.models.layers.attention import _cached_choice
from x2vlm.models.outputs import Context


def test_keys_and_values_are_projected_once_for_all_queries_of_an_image(model):
    calls = []
    model.fusion_encoder.layer[0].crossattention.key.register_forward_hook(lambda *args: calls.append(args[1][0].shape))
    batch = region_batch()
    model(batch, objectives=("itc", "itm", "mlm", "bbox"))
    assert len(calls) == 1  # for true and false pairs, masked words and boxes
    images, tokens, width = calls[0]
    assert (images, width) == (2, 16)  # U=2 images, not B=5 pairs
    assert tokens <= 4 + 1 + len(batch)  # 4 patches, the mean of all of them, and those of the parts


def test_shared_keys_equal_keys_projected_for_each_pair_alone(model):
    batch = region_batch()
    encoded = model.encode(batch)
    together = model.fuse(encoded.context, encoded.text)
    for b in range(len(batch)):
        context = encoded.context
        tokens = context.tokens[context.owner[b : b + 1]]
        alone = Context(tokens, torch.tensor([0]), context.mask[b : b + 1], context.summary[b : b + 1])
        fused = model.fusion_encoder(encoded.text.select(torch.tensor([b])), alone)
        torch.testing.assert_close(fused[0], together[b], atol=1e-5, rtol=1e-5)


def test_patches_outside_the_mask_have_no_influence(model):
    encoded = model.encode(region_batch())
    before = model.fuse(encoded.context, encoded.text)[0]
    tokens = encoded.context.tokens.clone()
    tokens[0, 3] += 100.0  # pair 0 attends to patch 0 of image 0 only
    context = Context(tokens, encoded.context.owner, encoded.context.mask, encoded.context.summary)
    torch.testing.assert_close(model.fusion_encoder(encoded.text, context)[0], before)


def test_padding_has_no_influence_on_real_tokens(model):
    encoded = model.encode(image_batch())
    longer = model.encode(image_batch())
    pad = torch.zeros(4, 3, dtype=torch.long)
    batch = image_batch()
    batch.text_ids, batch.text_mask = torch.cat([batch.text_ids, pad], 1), torch.cat([batch.text_mask, pad.bool()], 1)
    longer = model.encode(batch)
    short, long = (model.fuse(e.context, e.text) for e in (encoded, longer))
    mask = encoded.text.mask
    torch.testing.assert_close(long[:, :6][mask], short[mask], atol=1e-5, rtol=1e-5)


def test_activation_checkpointing_changes_memory_not_gradients():
    gradients = []
    for on in (False, True):
        _cached_choice.cache_clear()  # the search for a backend must not count as the layer's own work
        model = tiny_model(activation_checkpointing=on)
        for module in model.modules():
            if hasattr(module, "dropout") and isinstance(module.dropout, float):
                module.dropout = 0.0
            if isinstance(module, torch.nn.Dropout):
                module.p = 0.0
        model.vision_encoder.net.blocks[1].drop_path1 = torch.nn.Identity()
        model.vision_encoder.net.blocks[1].drop_path2 = torch.nn.Identity()
        torch.manual_seed(1)
        sum(model.train()(region_batch(), objectives=("itc", "mlm", "bbox")).values()).backward()
        gradients.append({name: p.grad for name, p in model.named_parameters() if p.grad is not None})
    assert gradients[0].keys() == gradients[1].keys()
    for name, reference in gradients[0].items():
        torch.testing.assert_close(gradients[1][name], reference, atol=1e-6, rtol=1e-4, msg=name)


def test_layers_are_copied_from_the_upper_layers_of_a_bert(tmp_path):
    bert = BertModel(
        BertConfig(vocab_size=10, hidden_size=8, num_hidden_layers=3, num_attention_heads=2, intermediate_size=32)
    )
    bert.save_pretrained(tmp_path)
    fusion = CrossAttentionFusion(width=8, context_width=4, depth=2, num_heads=2, init_from=str(tmp_path))
    for ours, theirs in zip(fusion.layer, bert.encoder.layer[1:], strict=True):
        assert torch.equal(ours.attention.query.weight, theirs.attention.self.query.weight)
        assert torch.equal(ours.ffn.output.bias, theirs.output.dense.bias)
    fresh = {name for name, _ in fusion.named_parameters()} - fusion.pretrained_names()
    assert fresh and all("crossattention" in name for name in fresh)


def test_a_bert_of_another_width_is_refused_with_both_shapes(tmp_path):
    BertModel(
        BertConfig(vocab_size=10, hidden_size=8, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32)
    ).save_pretrained(tmp_path)
    with pytest.raises(ValueError, match=r"layer\.0\.attention\.query\.weight is \(16, 16\) but .* has \(8, 8\)"):
        CrossAttentionFusion(width=16, context_width=4, depth=2, num_heads=2, init_from=str(tmp_path))


def test_a_width_that_heads_do_not_divide_is_refused():
    with pytest.raises(ValueError, match="width 10 cannot be split in 4 heads"):
        CrossAttentionFusion(width=10, context_width=4, num_heads=4)


@pytest.mark.parametrize(("sizes", "message"), [(dict(depth=0), "depth is 0; exp"), (dict(num_heads=0), "in 0 heads")])
def test_no_layers_and_no_heads_are_refused(sizes, message):
    with pytest.raises(ValueError, match=message):
        CrossAttentionFusion(width=8, context_width=8, **sizes)
