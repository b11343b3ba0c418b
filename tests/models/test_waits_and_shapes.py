"""What a GPU would be kept waiting for: numbers that are read back, shapes that are new, operators; with bounds."""

import random

import pytest
import torch

from tests.models.conftest import VOCAB, encoded_for, image_batch, region_batch, tiny_model
from x2vlm.benchmark.timing.operator_counts import OperatorCounts
from x2vlm.benchmark.workloads.model_sizes import SIZES, make_model
from x2vlm.benchmark.workloads.training_workloads import mixed
from x2vlm.data.batch import Batch
from x2vlm.data.tokenizer import bert_vocab
from x2vlm.gallery.reranking.rerank_key_values import matching_logits
from x2vlm.models.fusion import packed_texts
from x2vlm.models.generation.beam_search import BeamSearch
from x2vlm.models.generation.rank_answers import write_answers
from x2vlm.models.layers.shape_rounding import ROUNDED, round_up

STREAMS = {"image": ["itc", "itm", "mlm"], "region": ["itc", "itm", "mlm", "bbox"]}
VISION = dict(type="BEiT2", image_size=16, patch_size=8, width=16, depth=2, num_heads=2, drop_path=0.0)


@pytest.fixture
def fetched(monkeypatch):
    """How often a pass fetches something from the device for its plan; on a CPU nothing is there to be fetched."""
    calls, plan = [], packed_texts.indices_on_host

    def indices_on_host(requests):
        # Drawn negatives are known to the device alone; everything else was planned in main memory.
        drawn = [request for request in requests if isinstance(request.contexts, torch.Tensor)]
        calls.append(1 if drawn else 0)
        return plan(requests)

    monkeypatch.setattr("x2vlm.models.fusion.fusion_plan.indices_on_host", indices_on_host)
    return calls


def losses(model, batches):
    outputs = model(batches, objectives=STREAMS)
    return sum(value for own in outputs.values() for key, value in own.items() if "loss" in key)


def test_a_training_step_waits_for_the_device_at_most_once(fetched):
    # Without stochastic depth, which on a CPU leaves out what it drops, and on a GPU does not.
    model = tiny_model(vision_encoder=VISION).train()
    with OperatorCounts() as counts:
        losses(model, {"image": image_batch(), "region": region_batch()}).backward()
    assert counts.waits == {}
    assert fetched == [1]  # for the negatives of all streams together


VIEWS = (
    *("view", "t", "detach", "transpose", "expand", "unsqueeze", "slice", "alias", "permute", "select", "squeeze"),
    *("unbind", "lift_fresh", "_unsafe_view", "split", "split_with_sizes", "empty_like", "new_empty", "as_strided"),
)


@pytest.mark.parametrize(("dropout", "operators", "kernels"), [(0.0, 2500, 1210), (0.1, 2890, 1400)])
def test_a_tiny_step_is_made_of_so_many_operators(dropout, operators, kernels):
    size = SIZES["tiny"]
    model, streams = make_model(size, size.image, dropout=dropout).train(), mixed(size, 8)
    batches = {name: batch for name, (batch, _) in streams.items()}
    used = {name: objectives for name, (_, objectives) in streams.items()}
    with OperatorCounts() as counts:
        outputs = model(batches, objectives=used)
        sum(value for own in outputs.values() for value in own.values()).backward()
    views = sum(counts.by_name[f"aten::{name}"] for name in VIEWS)
    assert counts.total <= operators  # 2782 and 3167 when every objective had a pass of its own
    assert counts.total - views <= kernels  # 1555 and 1737


def test_a_chunk_of_re_ranking_waits_for_nothing():
    model = tiny_model()
    with torch.no_grad():
        encoded = encoded_for(model, image_batch(4))
        which, texts = torch.arange(4).repeat_interleave(4), torch.arange(4).repeat(4)
        with OperatorCounts() as counts:
            matching_logits(model, encoded.context, which, encoded.text, texts, chunk=2)  # eight chunks
    assert counts.waits == {}


def waits_of_captions(words):
    size = 30 - 5 - 4
    tokenizer = bert_vocab(["a", "picture", "of", "dog", *(f"word{i}" for i in range(size))])
    model = tiny_model(objectives=dict(caption=dict(type="CaptionGeneration", tokenizer=tokenizer)))
    batch = Batch(None, None, pixels=image_batch(2).pixels, owner=torch.arange(2))
    with torch.no_grad():
        encoded = model.encode(batch)
        with OperatorCounts() as counts:
            search = BeamSearch(min_length=0, max_length=words, no_repeat=0)
            model.objectives["caption"].generate(model, encoded, search)
    return sum(counts.waits.values())


def test_a_written_word_waits_at_most_once():
    # What is not one per word: the texts are read back in the end.
    assert waits_of_captions(8) - waits_of_captions(4) <= 4


def test_a_word_of_an_answer_waits_at_most_once():
    decoder = (
        tiny_model(
            objectives=dict(answer=dict(type="AnswerGeneration", decoder=dict(depth=1, num_heads=2, mlp_width=16)))
        )
        .objectives["answer"]
        .decoder
    )
    states, key_mask = torch.randn(3, 5, 8), torch.ones(3, 5, dtype=torch.bool)
    with torch.no_grad(), OperatorCounts() as counts:
        write_answers(decoder, states, key_mask, start=2, end=VOCAB - 1, num_beams=2, max_tokens=6)
    assert sum(counts.waits.values()) <= 6


def lengths(rng, mean, deviation, least, most):
    return min(most, max(least, round(rng.gauss(mean, deviation))))


def flickr_like(rng, count, mean, deviation, least, most):
    """Texts with the lengths of Flickr8k's captions (or of its phrases), with a few words masked."""
    sizes = [lengths(rng, mean, deviation, least, most) for _ in range(count)]
    ids = torch.zeros(count, max(sizes), dtype=torch.long)
    mask = torch.arange(max(sizes)) < torch.tensor(sizes)[:, None]
    ids[mask] = torch.randint(5, VOCAB, (int(mask.sum()),))
    guesses = [max(1, round(rng.uniform(0.15, 0.35) * (size - 2))) for size in sizes]
    positions = torch.zeros(count, max(guesses), dtype=torch.long)
    labels = torch.full(positions.shape, -100)
    for row, (size, number) in enumerate(zip(sizes, guesses, strict=True)):
        positions[row, :number] = torch.tensor(sorted(rng.sample(range(1, size - 1), number)))
        labels[row, :number] = ids[row, positions[row, :number]]
    return dict(text_ids=ids, text_mask=mask, masked_ids=ids.clone(), mlm_positions=positions, mlm_labels=labels)


def step_of(rng, pairs=32, most_images=12):
    """Captions, and as many phrases of some images, each of which offers up to five."""
    images = Batch(**flickr_like(rng, pairs, 12, 4, 5, 35), pixels=torch.randn(pairs, 3, 16, 16))
    images.owner, images.ids = torch.arange(pairs), torch.arange(pairs)
    offered = [image for image in range(most_images) for _ in range(rng.randint(2, 5))]
    kept = sorted(rng.sample(offered, min(pairs, len(offered))))
    shown, pairs = {image: n for n, image in enumerate(dict.fromkeys(kept))}, len(kept)
    corners = torch.rand(pairs, 2) / 2
    regions = Batch(**flickr_like(rng, pairs, 5, 2, 3, 12), pixels=torch.randn(len(shown), 3, 16, 16))
    regions.owner, regions.ids = torch.tensor([shown[image] for image in kept]), torch.arange(pairs)
    regions.boxes_xyxy, regions.has_box = torch.cat([corners, corners + 0.5], dim=1), torch.ones(pairs).bool()
    return {"image": images, "region": regions}


def model_without_dropout(shapes):
    text = dict(model_type="bert", vocab_size=VOCAB, hidden_size=8, num_hidden_layers=1, num_attention_heads=2)
    text |= dict(intermediate_size=16, max_position_embeddings=40)
    text |= dict(hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0)
    fusion = dict(type="CrossAttentionFusion", depth=2, num_heads=2, dropout=0.0, init_std=0.3)
    text = dict(type="HFTextEncoder", config=text)
    return tiny_model(vision_encoder=VISION, text_encoder=text, fusion_encoder=fusion, shapes=shapes).train()


def shapes_of_a_hundred_steps(shapes):
    model, rng = model_without_dropout(shapes), random.Random(0)
    torch.manual_seed(0)
    with torch.no_grad(), OperatorCounts() as counts:
        for _ in range(100):
            losses(model, step_of(rng))
    return len(counts.attention_shapes)


@pytest.mark.slow
def test_a_hundred_steps_with_texts_of_real_lengths_have_few_shapes():
    rounded, exact = shapes_of_a_hundred_steps("rounded"), shapes_of_a_hundred_steps("exact")
    assert rounded <= 40
    assert exact > 5 * rounded  # what it would be otherwise


def test_rounding_changes_no_loss_and_no_gradient():
    rng, found = random.Random(1), {}
    batches = step_of(rng)
    for shapes in ("exact", "rounded"):
        model = model_without_dropout(shapes)
        torch.manual_seed(0)
        loss = losses(model, batches)
        loss.backward()
        found[shapes] = loss.detach(), {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
    torch.testing.assert_close(found["rounded"][0], found["exact"][0], atol=1e-5, rtol=1e-5)
    assert found["rounded"][1].keys() == found["exact"][1].keys()
    for name, grad in found["exact"][1].items():
        torch.testing.assert_close(found["rounded"][1][name], grad, atol=1e-5, rtol=1e-5, msg=name)
    assert round_up(len(batches["region"].pixels), ROUNDED.groups) >= len(batches["region"].pixels)
