"""CCLM: parallel texts with XLM-R, against the losses written out for one text after the other."""

import pytest
import torch
from torch.nn.functional import cross_entropy, gelu, layer_norm, normalize

from tests.models.conftest import image_batch, tiny_model
from x2vlm.data.batch import Batch

PAD, MASK, WORDS = 1, 4, 30
TEXT = dict(
    model_type="xlm-roberta",
    vocab_size=WORDS,
    hidden_size=16,
    num_hidden_layers=2,
    num_attention_heads=2,
    intermediate_size=32,
    max_position_embeddings=18,
    type_vocab_size=1,
    pad_token_id=PAD,
    layer_norm_eps=1e-5,
    initializer_range=0.3,
)


@pytest.fixture(scope="module")
def model():
    return tiny_model(
        text_encoder=dict(type="HFTextEncoder", config=TEXT),
        objectives=dict(
            itc=dict(type="ITC", positives="pairs"),
            itm=dict(type="ITM", positives="pairs"),
            mlm=dict(type="MLM", tied=False, layer_norm_eps=1e-5),
            bbox=dict(type="BBox"),
        ),
    )


def sentences(lengths, seed):
    generator = torch.Generator().manual_seed(seed)
    ids = torch.randint(5, WORDS, (len(lengths), max(lengths)), generator=generator)
    mask = torch.arange(max(lengths))[None] < torch.tensor(lengths)[:, None]
    return ids.masked_fill(~mask, PAD), mask


@pytest.fixture(scope="module")
def batch():
    """Text 1 plays the image; its words are masked."""
    first, first_mask = sentences([7, 5, 6], seed=1)
    second, second_mask = sentences([4, 5, 3], seed=2)
    positions = torch.tensor([[1, 3], [2, 0], [4, 5]])
    labels = first.gather(1, positions)
    labels[1, 1] = -100
    masked = first.clone()
    for row, column in ((0, 1), (0, 3), (1, 2), (2, 4), (2, 5)):
        masked[row, column] = MASK
    return Batch(
        text_ids=second,
        text_mask=second_mask,
        context_ids=first,
        context_text_mask=first_mask,
        owner=torch.arange(3),
        masked_ids=masked,
        mlm_positions=positions,
        mlm_labels=labels,
    )


def alone(model, ids, mask):
    """One sentence through the text encoder without any padding: ``[L, D]``."""
    return model.text_encoder(ids[mask][None], mask[mask][None])[0]


def fused(model, query, source):
    """The fusion layers written out: query ``[L, D]`` reads source ``[L', D]``, position 0 like all others."""

    def attention(part, x, y):
        heads = []
        for h in range(2):
            cut = slice(8 * h, 8 * h + 8)
            logits = part.query(x)[:, cut] @ part.key(y)[:, cut].T / 8**0.5
            heads.append(logits.softmax(-1) @ part.value(y)[:, cut])
        norm = part.LayerNorm
        return layer_norm(x + part.dense(torch.cat(heads, -1)), (16,), norm.weight, norm.bias, 1e-12)

    for layer in model.fusion_encoder.layer:
        query = attention(layer.attention, query, query)
        query = attention(layer.crossattention, query, source)
        out = layer.ffn.output(gelu(layer.ffn.intermediate(query)))
        query = layer_norm(query + out, (16,), layer.ffn.LayerNorm.weight, layer.ffn.LayerNorm.bias, 1e-12)
    return query


@pytest.fixture(scope="module")
def embeds(model, batch):
    """Both sentences of each pair, one by one."""
    with torch.no_grad():
        first = [alone(model, i, m) for i, m in zip(batch.context_ids, batch.context_text_mask, strict=True)]
        second = [alone(model, i, m) for i, m in zip(batch.text_ids, batch.text_mask, strict=True)]
    return first, second


def close(ours, theirs):
    torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-5)


def test_positions_start_behind_the_padding_id_and_padding_changes_nothing(model, batch, embeds):
    net = model.text_encoder.net
    ids, mask = batch.context_ids[1], batch.context_text_mask[1]
    assert (~mask).sum() == 2
    close(model.text_encoder(ids[None], mask[None])[0][mask], embeds[0][1])
    counted = torch.where(mask, mask.cumsum(0) + PAD, PAD)  # 2, 3, ..., and 1 at padding
    close(model.text_encoder(ids[None], mask[None]), model.text_encoder(ids[None], mask[None], counted[None]))
    assert net.embeddings.position_embeddings.padding_idx == PAD


@torch.no_grad()
def test_the_contrast_is_between_the_two_texts(model, batch, embeds):
    first, second = (normalize(torch.stack([model.text_proj(text[0]) for text in side]), dim=-1) for side in embeds)
    logits = first @ second.T / 0.07
    expected = (cross_entropy(logits, torch.arange(3)) + cross_entropy(logits.T, torch.arange(3))) / 2
    close(model(batch, objectives=("itc",))["loss_itc"], expected)


@torch.no_grad()
def test_matching_lets_the_second_text_read_the_first(model, batch, embeds):
    first, second = embeds
    wrong_first, wrong_second = torch.tensor([2, 0, 1]), torch.tensor([1, 2, 0])
    pairs = [(b, b) for b in range(3)]
    pairs += [(int(wrong_first[b]), b) for b in range(3)] + [(b, int(wrong_second[b])) for b in range(3)]
    itm = model.objectives["itm"]
    logits = torch.stack([itm.head(fused(model, second[j], first[i])[0]) for i, j in pairs])
    encoded = model.encode(batch)
    read = model.read([itm.request(encoded, wrong_first, wrong_second)])
    close(itm.score(read[0].states), logits)
    expected = cross_entropy(logits, torch.tensor([1] * 3 + [0] * 6))
    close(itm.losses(encoded, read)["loss_itm"], expected)
    assert read[0].request.labels.tolist() == [1] * 3 + [0] * 6


@torch.no_grad()
def test_masked_words_of_the_first_text_are_guessed_with_the_second_in_view(model, batch, embeds):
    mlm, scores, labels = model.objectives["mlm"], [], []
    for b, other in enumerate(embeds[1]):
        mask = batch.context_text_mask[b]
        hidden = fused(model, alone(model, batch.masked_ids[b], mask), other)
        for position, label in zip(batch.mlm_positions[b], batch.mlm_labels[b], strict=True):
            if label != -100:
                inner = gelu(mlm.dense(hidden[position]))
                inner = layer_norm(inner, (16,), mlm.LayerNorm.weight, mlm.LayerNorm.bias, 1e-5)
                scores.append(mlm.decoder.weight @ inner + mlm.bias)
                labels.append(label)
    assert len(labels) == 5
    expected = cross_entropy(torch.stack(scores), torch.stack(labels))
    close(model(batch, objectives=("mlm",))["loss_mlm"], expected)


def test_the_word_matrix_is_the_heads_own(model, batch):
    assert model.objectives["mlm"].decoder.weight is not model.text_encoder.word_embeddings
    model.zero_grad()
    model(batch, objectives=("mlm",))["loss_mlm"].backward()
    grad = model.text_encoder.word_embeddings.grad
    unseen = set(range(WORDS)) - set(batch.masked_ids.flatten().tolist()) - set(batch.text_ids.flatten().tolist())
    assert unseen
    assert (grad[sorted(unseen)] == 0).all()
    assert (grad[PAD] == 0).all()


def test_texts_and_images_of_one_model_share_its_heads(model):
    images = image_batch()
    images.text_ids[images.text_ids == 0] = PAD
    losses = model(images, objectives=("itc", "itm", "mlm"))
    assert all(loss.isfinite() for loss in losses.values())
