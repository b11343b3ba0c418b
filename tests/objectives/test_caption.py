import pytest
import torch

from tests.models.conftest import VOCAB, encoded_for, tiny_model
from x2vlm.data.batch import Batch, Sample
from x2vlm.data.collate.caption_collate import CaptionCollate
from x2vlm.data.tokenizer import bert_vocab
from x2vlm.models.generation.beam_search import BeamSearch
from x2vlm.models.generation.kv_cache import KVCache
from x2vlm.models.generation.sampling import Sampling
from x2vlm.models.outputs import TextStates
from x2vlm.objectives.caption import CaptionReader, smoothed_divergence

WORDS = ["a", "picture", "of", "red", "dog", "cat", "##s", "on", "mat", "the", "big", "small", "runs", "sits"]
TOKENIZER = bert_vocab([*WORDS, *(f"word{i}" for i in range(VOCAB - 5 - len(WORDS)))])
CLS, SEP, MASK, PAD = TOKENIZER.convert_tokens_to_ids(["[CLS]", "[SEP]", "[MASK]", "[PAD]"])
TEXTS = ["red dog on the mat", "cats", "the big cat sits on a small dog"]


def divergence(scores, labels, smoothing, cls_id):
    """Of ``[N, V]`` scores that are given."""
    guessed, count = (labels != -100) & (labels != cls_id), scores.shape[1]
    return smoothed_divergence(
        scores[guessed], torch.eye(count), torch.zeros(count), labels[guessed], smoothing, cls_id
    )


def model_of(**options):
    head = {"type": "CaptionGeneration", "tokenizer": TOKENIZER, **options}
    net = tiny_model(objectives=dict(caption=head))
    with torch.no_grad():  # BERT's start is so small that all words would be nearly equal
        for parameter in net.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    return net.eval()


def batch_of(texts=TEXTS, **options):
    samples = [
        Sample(f"a:{i}", [text], pixels=torch.randn(3, 16, 16, generator=torch.Generator().manual_seed(i)))
        for i, text in enumerate(texts)
    ]
    return CaptionCollate(TOKENIZER, max_tokens=14, **options)(samples)


@pytest.fixture
def net(seed):
    return model_of()


@pytest.fixture
def batch(seed):
    return batch_of()


def image_batch(count):
    return Batch(None, None, pixels=batch_of(["cat"] * count).pixels, owner=torch.arange(count))


def test_the_loss_is_the_divergence_from_the_smoothed_target_written_out():
    scores = torch.randn(4, 9, generator=torch.Generator().manual_seed(0))
    labels = torch.tensor([3, -100, 8, 2])  # 2 is [CLS]
    total = 0.0
    for row, label in ((0, 3), (2, 8)):
        log_probs = scores[row].log_softmax(dim=0)
        for word in range(9):
            target = 0.9 if word == label else 0.0 if word == 2 else 0.1 / 7
            if target:
                total += target * (torch.tensor(target).log() - log_probs[word])
    torch.testing.assert_close(divergence(scores, labels, 0.1, 2), total / (2 + 1e-5))


def test_a_perfect_prediction_costs_nothing_and_nothing_to_guess_costs_nothing():
    target = torch.full((1, 9), 0.1 / 7)
    target[0, 4], target[0, 2] = 0.9, 1e-12
    assert divergence(target.log(), torch.tensor([4]), 0.1, 2).item() == pytest.approx(0, abs=1e-5)
    assert divergence(target.log(), torch.tensor([-100]), 0.1, 2) == 0


def test_without_smoothing_the_loss_is_cross_entropy():
    scores, labels = torch.randn(5, 9, generator=torch.Generator().manual_seed(0)), torch.tensor([3, 4, 5, 6, 7])
    expected = torch.nn.functional.cross_entropy(scores, labels)
    torch.testing.assert_close(divergence(scores, labels, 0.0, 2), expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("masked", ["twice", "replace"])
def test_the_models_loss_reads_masks_and_positions_of_the_batch(net, seed, masked):
    batch = batch_of(masked=masked)
    encoded = net.encode(batch)
    text = net.encode_text(batch.masked_ids, batch.masked_mask, batch.masked_text_positions)
    hidden = net.fusion_encoder(TextStates(text.embeds, batch.masked_mask), encoded.context)
    head = net.objectives["caption"]
    total, count = 0.0, 0
    for b in range(len(batch)):
        for position, label in zip(batch.mlm_positions[b], batch.mlm_labels[b], strict=True):
            if label != -100:
                scores = head.score(hidden[b, position], encoded.word_embeddings)
                total += divergence(scores[None], label[None], 0.1, CLS) * (1 + 1e-5)
                count += 1
    torch.testing.assert_close(net(batch)["loss_caption"], total / (count + 1e-5))


def test_what_is_guessed_in_training_is_what_generation_reads_at_the_same_place(net, batch):
    encoded, head = encoded_for(net, batch), net.objectives["caption"]
    guesses = iter(head.logits(encoded, net.read(head.requests(encoded))).log_softmax(dim=-1))
    for b in range(len(batch)):
        one = net.encode(Batch(None, None, pixels=batch.pixels[b : b + 1], owner=torch.zeros(1, dtype=torch.long)))
        for m, index in enumerate(batch.mlm_positions[b].tolist()):
            if batch.mlm_labels[b, m] == -100:
                continue
            position = batch.masked_text_positions[b, index]
            read = CaptionReader(head, net, one, None)(
                batch.text_ids[b : b + 1, :position], torch.zeros(1, dtype=torch.long)
            )
            torch.testing.assert_close(next(guesses), read[0], atol=1e-5, rtol=1e-4)


def test_one_guess_does_not_see_another(net, batch):
    encoded, head = encoded_for(net, batch), net.objectives["caption"]
    everything = head.logits(encoded, net.read(head.requests(encoded)))  # those of the first caption come first
    assert (batch.mlm_labels[0, :3] != -100).all()
    for keep in range(3):
        only = {name: getattr(batch, name)[:, keep : keep + 1] for name in ("mlm_positions", "mlm_labels")}
        index = only["mlm_positions"][0, 0]
        ids = batch.masked_ids[:1].clone()
        others = (ids == MASK) & (torch.arange(ids.shape[1]) != index)
        ids[others] = 7
        other = Batch(None, None, pixels=batch.pixels[:1], owner=torch.zeros(1, dtype=torch.long))
        text = net.encode_text(ids, batch.masked_mask[:1], batch.masked_text_positions[:1])
        hidden = net.fuse(net.encode(other).context, text)
        torch.testing.assert_close(head.score(hidden[0, index], encoded.word_embeddings), everything[keep])


@pytest.mark.parametrize("model_type", ["bert", "roberta"])
@pytest.mark.parametrize("length_from", ["prompt", "batch"])
def test_what_is_remembered_changes_no_caption(seed, model_type, length_from):
    text = dict(
        type="HFTextEncoder",
        config=dict(
            model_type=model_type,
            vocab_size=VOCAB,
            hidden_size=8,
            num_hidden_layers=2,
            num_attention_heads=2,
            intermediate_size=16,
            max_position_embeddings=40,
            pad_token_id=0,
        ),
    )
    net = tiny_model(
        text_encoder=text, objectives=dict(caption=dict(type="CaptionGeneration", tokenizer=TOKENIZER))
    ).eval()
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    encoded, search = net.encode(image_batch(5)), BeamSearch(min_length=4, max_length=12, length_from=length_from)
    head = net.objectives["caption"]
    with torch.no_grad():
        anew, again = (head.generate(net, encoded, search, cached=cached) for cached in (False, True))
    assert [one.ids for one in anew] == [one.ids for one in again]
    assert [one.score for one in anew] == pytest.approx([one.score for one in again], abs=1e-4)
    assert len({tuple(one.ids) for one in anew}) > 1


@pytest.mark.parametrize(
    "search",
    [
        BeamSearch(beams=1, min_length=0, max_length=9),
        BeamSearch(beams=2, min_length=0, max_length=6, length_penalty=1.0),
        BeamSearch(beams=4, min_length=2, max_length=10, no_repeat=1),
        BeamSearch(beams=5, min_length=9, max_length=9, no_repeat=2, length_penalty=0.5),
        Sampling(min_length=1, max_length=9, seed=3),
    ],
)
@pytest.mark.parametrize("prompt", ["", "a picture of", "the big red dog"])
def test_however_captions_are_searched_they_are_those_that_are_read_anew(seed, search, prompt):
    net = model_of(prompt=prompt)
    with torch.no_grad():
        net.objectives["caption"].bias[SEP] += 2.0  # captions of several lengths
        encoded, head = net.encode(image_batch(4)), net.objectives["caption"]
        anew, again = (head.generate(net, encoded, search, cached=cached) for cached in (False, True))
    assert [one.ids for one in anew] == [one.ids for one in again]
    assert [one.score for one in anew] == pytest.approx([one.score for one in again], abs=1e-5, rel=1e-5)


def regions_of_images():
    """Five regions of two images, in no order."""
    batch = image_batch(2)
    batch.owner, batch.ids = torch.tensor([1, 0, 0, 1, 0]), None
    batch.patch_mask = torch.rand(5, 4, generator=torch.Generator().manual_seed(3)) < 0.5
    batch.patch_mask[:, 1] = True
    return batch


@pytest.mark.parametrize("given", [regions_of_images(), image_batch(3)], ids=["parts", "images"])
def test_every_step_reads_what_reading_anew_does(net, given):
    encoded, head = net.encode(given), net.objectives["caption"]
    count, generator = len(given.owner), torch.Generator().manual_seed(0)
    readers = CaptionReader(head, net, encoded, KVCache()), CaptionReader(head, net, encoded, None)
    ids, rows = torch.tensor([head.start_ids] * count), torch.arange(count)
    for texts in (3, 2, 2, 1, 0):  # of each context; then any of those of a context
        with torch.no_grad():
            remembered, anew = (reader(ids, rows) for reader in readers)
        torch.testing.assert_close(remembered, anew, atol=1e-5, rtol=1e-5)
        if texts:
            rows = torch.arange(len(ids)).view(count, -1)[:, :1].expand(-1, texts).flatten()
        else:
            own = len(ids) // count
            rows = torch.arange(count)[:, None] * own + torch.randint(own, (count, 3), generator=generator)
            rows = rows.flatten()
        ids = torch.cat([ids[rows], torch.randint(5, VOCAB, (len(rows), 1), generator=generator)], dim=1)
    with torch.no_grad():
        remembered, anew = (reader(ids, rows) for reader in readers)
    torch.testing.assert_close(remembered, anew, atol=1e-5, rtol=1e-5)


def test_an_image_is_projected_once_and_the_last_layer_computes_the_mask_alone(net):
    encoded, projected, queries, computed = net.encode(image_batch(2)), [], [], []
    first = net.fusion_encoder.layer[0].crossattention
    first.register_forward_pre_hook(lambda _, given: queries.append((given[0].shape[:2], given[1][0].shape[0])))
    for layer in net.fusion_encoder.layer:
        layer.crossattention.key.register_forward_pre_hook(lambda _, given: projected.append(given[0].shape[:2]))
    net.fusion_encoder.layer[-1].ffn.register_forward_pre_hook(lambda _, given: computed.append(given[0].shape[:2]))
    with torch.no_grad():
        net.objectives["caption"].generate(net, encoded, BeamSearch(min_length=4, max_length=4))
    assert projected == [(2, 5), (2, 5)]  # two layers; summary and four patches of both images
    assert queries == [
        ((2, 5), 2),
        ((2, 6), 2),
        ((2, 6), 2),
        ((2, 6), 2),
    ]  # three beams of an image attend to it together
    assert computed == [(2, 1), (6, 1), (6, 1), (6, 1)]


class Wrapped(torch.nn.Module):
    """A fusion encoder of a plugin, which runs the published one."""

    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def project(self, tokens):
        return self.inner.project(tokens)

    def forward(self, *given, **options):
        return self.inner(*given, **options)


def test_a_fusion_encoder_of_another_kind_writes_the_same_captions(net):
    head = net.objectives["caption"]
    search = BeamSearch(min_length=2, max_length=8)
    with torch.no_grad():
        expected = head.generate(net, net.encode(image_batch(3)), search)
        net.fusion_encoder = Wrapped(net.fusion_encoder)
        made = head.generate(net, net.encode(image_batch(3)), search)
    assert [one.ids for one in made] == [one.ids for one in expected]


def test_a_memory_reads_only_what_is_new(net):
    encoded, read = net.encode(image_batch(2)), []
    net.text_encoder.register_forward_pre_hook(lambda _, given: read.append(given[0].shape[1]))
    with torch.no_grad():
        net.objectives["caption"].generate(net, encoded, BeamSearch(min_length=5, max_length=5))
    assert read == [5, 2, 2, 2, 2]
    assert encoded.context.tokens.shape[0] == 2


def test_a_tower_that_remembers_nothing_is_read_anew(net):
    net.text_encoder = type(net.text_encoder)(
        config=dict(
            model_type="bert",
            vocab_size=VOCAB,
            hidden_size=8,
            num_hidden_layers=1,
            num_attention_heads=2,
            intermediate_size=16,
            max_position_embeddings=30,
        ),
        attention="native",
    ).eval()
    encoded, head = net.encode(image_batch(2)), net.objectives["caption"]
    reader = CaptionReader(head, net, encoded, KVCache())
    start = torch.tensor([head.start_ids] * 2)
    with torch.no_grad():
        reader(start, torch.arange(2))
        assert reader.cache is None
        both = [head.generate(net, encoded, BeamSearch(max_length=7), cached=cached) for cached in (True, False)]
    assert both[0] == both[1]


def test_captions_begin_with_the_prompt_and_depend_on_the_image(net):
    head = net.objectives["caption"]
    assert head.start_ids == TOKENIZER.convert_tokens_to_ids(["[CLS]", "a", "picture", "of"])
    encoded = net.encode(image_batch(3))
    reader = CaptionReader(head, net, encoded, None)
    with torch.no_grad():
        scores = reader(torch.tensor([head.start_ids] * 3), torch.arange(3))
    assert not torch.allclose(scores[0], scores[1])
    torch.testing.assert_close(scores.exp().sum(dim=1), torch.ones(3))


def test_a_batch_without_a_causal_mask_is_refused(net, batch):
    batch.masked_mask = None
    with pytest.raises(ValueError, match=r"'caption' needs batch\.masked_mask"):
        net(batch)


def test_a_smoothing_without_meaning_is_refused():
    with pytest.raises(ValueError, match="smoothing is 1"):
        model_of(smoothing=1)


@pytest.mark.slow
@pytest.mark.parametrize(("objective", "masked"), [("CaptionGeneration", "twice"), ("NextTokenCaption", "next")])
def test_captions_are_learned_by_heart(seed, objective, masked):
    texts = ["red dog on the mat", "cats on the mat", "the big cat sits on a small dog", "a small dog runs"]
    config = dict(model_type="bert", vocab_size=VOCAB, hidden_size=32, num_hidden_layers=1, num_attention_heads=2)
    config |= dict(intermediate_size=64, max_position_embeddings=20, initializer_range=0.15)
    sizes = dict(patch_size=8, embed_dim=32, depth=1, num_heads=2)
    net = tiny_model(
        vision_encoder=dict(type="TimmVisionEncoder", name="vit_tiny_patch16_224", image_size=16, options=sizes),
        text_encoder=dict(type="HFTextEncoder", config=config),
        fusion_encoder=dict(type="CrossAttentionFusion", depth=2, num_heads=2, init_std=0.15),
        objectives=dict(caption=dict(type=objective, tokenizer=TOKENIZER)),
    ).eval()  # without dropout
    optimizer = torch.optim.AdamW(net.parameters(), lr=3e-3)
    for _ in range(80):
        optimizer.zero_grad()
        net(batch_of(texts, masked=masked))["loss_caption"].backward()
        optimizer.step()
    with torch.no_grad():
        for search in (BeamSearch(min_length=1, max_length=12), BeamSearch(beams=1, min_length=1, max_length=12)):
            written = net.objectives["caption"].generate(net, net.encode(image_batch(4)), search)
            assert [TOKENIZER.decode(one.ids) for one in written] == texts
