"""Self-critical training against REINFORCE written out, and its reward against the metric."""

from dataclasses import replace

import pytest
import torch

from tests.models.conftest import VOCAB, tiny_model
from tests.objectives.test_caption import TOKENIZER
from x2vlm.cider import DocumentFrequencies, caption_tokens
from x2vlm.data.batch import Batch
from x2vlm.evaluation.metrics.ngrams import cider_d
from x2vlm.evaluation.tasks.captioning import CaptioningMetric
from x2vlm.models.eval_mode import eval_mode
from x2vlm.models.generation.search import GeneratedText
from x2vlm.models.needs import Needs
from x2vlm.objectives.caption import CaptionGeneration, CaptionReader

REFERENCES = [["red dog on the mat", "a dog"], ["cats"], ["the big cat sits on a small dog"]]
FREQUENCIES = DocumentFrequencies.of([[caption_tokens(text) for text in texts] for texts in REFERENCES])

CONTEXT = Needs(context=True)


def model_of(**options):
    options = dict(document_frequencies=FREQUENCIES, samples=4, max_length=6) | options
    net = tiny_model(objectives=dict(caption=dict(type="SCST", tokenizer=TOKENIZER, **options)))
    with torch.no_grad():  # BERT's start is so small that all words would be nearly equal
        for parameter in net.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
        net.objectives["caption"].bias[net.objectives["caption"].end_id] += 2.0  # captions of several lengths
        net.objectives["caption"].bias[5:12] += 3.0  # words of the references
    return net.eval()


def batch_of(references=REFERENCES):
    owner = torch.tensor([image for image, texts in enumerate(references) for _ in texts])
    pixels = torch.randn(len(references), 3, 16, 16, generator=torch.Generator().manual_seed(5))
    texts = [text for texts in references for text in texts]
    ids = torch.zeros(len(texts), 1, dtype=torch.long)
    where = [f"a:{image}" for image in owner.tolist()]
    return Batch(ids, ids.bool(), pixels=pixels, owner=owner, ids=owner + 100, texts=texts, where=where)


@pytest.fixture
def net(seed):
    return model_of()


def written_by(net, monkeypatch, seed=1):
    """The losses of a batch, and the texts that were written for it: the greedy ones, the sampled ones."""
    written, generate = [], CaptionGeneration.generate

    def listen(self, *given):
        written.append(generate(self, *given))
        return written[-1]

    monkeypatch.setattr(CaptionGeneration, "generate", listen)
    torch.manual_seed(seed)
    return net(batch_of()), written


def log_prob(net, encoded, pair, ids):
    """Of a caption (its end included), word by word, each read anew: ``[]``, with gradient."""
    head = net.objectives["caption"]
    one = replace(encoded, context=encoded.context.select(torch.tensor([pair])))
    reader, row, total = CaptionReader(head, net, one, None), list(head.start_ids), 0.0
    for word in ids:
        total = total + reader(torch.tensor([row]), torch.zeros(1, dtype=torch.long))[0, word]
        row.append(word)
    return total


def test_weights_that_were_cast_to_write_captions_are_trained_in_bf16_too(net):
    net.train()
    torch.manual_seed(1)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        net(batch_of())["loss_scst"].backward()
    head = net.objectives["caption"]
    lacking = [name for name, one in head.named_parameters() if one.requires_grad and one.grad is None]
    assert not lacking
    assert net.text_encoder.word_embeddings.grad is not None


def test_the_gradient_is_that_of_reinforce_with_the_greedy_caption_as_baseline(net, monkeypatch):
    losses, (greedy, sampled) = written_by(net, monkeypatch)
    losses["loss_scst"].backward()
    found = {name: parameter.grad.clone() for name, parameter in net.named_parameters() if parameter.grad is not None}
    net.zero_grad()

    def reward(text, references):
        tokens = caption_tokens(TOKENIZER.decode(text.ids, skip_special_tokens=True))
        return cider_d([tokens], [[caption_tokens(one) for one in references]], frequencies=FREQUENCIES)[0]

    encoded, end, total, advantages = net.encode(batch_of(), CONTEXT), net.objectives["caption"].end_id, 0.0, []
    for number, text in enumerate(sampled):
        image = number // 4
        pair = sum(len(texts) for texts in REFERENCES[:image])
        advantages.append(reward(text, REFERENCES[image]) - reward(greedy[image], REFERENCES[image]))
        ids = [*text.ids, end] if len(text.ids) < 6 else text.ids
        total = total - advantages[-1] * log_prob(net, encoded, pair, ids)
    (total / len(sampled)).backward()
    assert any(advantage > 0 for advantage in advantages)
    assert any(advantage < 0 for advantage in advantages)
    assert len({len(text.ids) for text in sampled}) > 1
    torch.testing.assert_close(losses["loss_scst"], total / len(sampled), atol=1e-5, rtol=1e-4)
    expected = {name: parameter.grad for name, parameter in net.named_parameters() if parameter.grad is not None}
    assert found.keys() == expected.keys()
    for name, gradient in found.items():
        torch.testing.assert_close(gradient, expected[name], atol=2e-5, rtol=1e-3, msg=name)


def test_the_baseline_can_be_the_mean_of_the_other_samples(seed):
    net = model_of(baseline="samples")
    torch.manual_seed(1)
    head = net.objectives["caption"]
    samples = head.sample(net, net.encode(batch_of(), CONTEXT)).samples
    torch.manual_seed(1)
    head.baseline = "greedy"
    against_greedy = head.sample(net, net.encode(batch_of(), CONTEXT)).samples
    # Both differ by one number for all samples of an image; against each other they sum to 0.
    of_images = samples.advantages.view(3, 4)
    torch.testing.assert_close(of_images.sum(dim=1), torch.zeros(3), atol=1e-5, rtol=0.0)
    spread = against_greedy.advantages.view(3, 4)
    expected = (spread - spread.mean(dim=1, keepdim=True)) * 4 / 3
    torch.testing.assert_close(of_images, expected, atol=1e-5, rtol=1e-4)
    assert of_images.abs().sum() > 0


def test_the_log_probabilities_are_those_with_which_the_words_were_drawn(net, monkeypatch):
    _, (_, sampled) = written_by(net, monkeypatch)
    torch.manual_seed(1)
    encoded = net.encode(batch_of(), CONTEXT)
    head = net.objectives["caption"]
    given = head.sample(net, encoded)
    (fused,) = net.read(head.requests(given))
    log_probs = head.log_probs(fused.states, given.samples.labels, encoded.word_embeddings)
    rows = torch.tensor((given.samples.at >= 0).sum(axis=1))
    sums = torch.stack([part.sum() for part in log_probs.split(rows.tolist())])
    torch.testing.assert_close(sums, torch.tensor([text.score for text in sampled]), atol=1e-4, rtol=1e-4)


def test_the_reward_is_the_cider_of_the_metric(net, seed):
    batch, head = batch_of(), net.objectives["caption"]
    metric = CaptioningMetric(TOKENIZER, search=head.greedy)
    expected = metric.evaluate(net, [batch])["cider"]
    with eval_mode(net):
        captions = head.generate(net, net.encode(replace(batch, owner=torch.arange(3)), CONTEXT), head.greedy)
    assert 100 * head.rewards(captions, REFERENCES).mean().item() == pytest.approx(expected)
    assert net(batch)["greedy_cider"].item() == pytest.approx(expected)


def test_a_reward_is_higher_for_words_of_the_references(net):
    ids = [TOKENIZER.convert_tokens_to_ids(text.split()) for text in ("a dog", "the cat", "big")]
    rewards = net.objectives["caption"].rewards([GeneratedText(one, 0.0) for one in ids], [REFERENCES[0]])
    assert rewards[0] > rewards[1] >= rewards[2] == 0


def test_captions_are_written_without_dropout_and_the_model_trains_on(net):
    net.train()
    modes = []
    net.fusion_encoder.layer[0].ffn.register_forward_pre_hook(lambda module, _: modes.append(module.training))
    loss = net(batch_of())["loss_scst"]
    assert net.training
    assert all(module.training for module in net.modules())
    assert modes[-1] is True  # the pass with gradient
    assert modes[0] is False
    assert loss.requires_grad


def test_the_weights_of_a_captioning_model_are_those_of_its_self_critical_training(net):
    head = dict(type="CaptionGeneration", tokenizer=TOKENIZER)
    assert tiny_model(objectives=dict(caption=head)).state_dict().keys() == net.state_dict().keys()


def test_frequencies_are_read_at_the_first_step_and_only_then(seed, tmp_path):
    net = model_of(document_frequencies=tmp_path / "f.json")
    with pytest.raises(FileNotFoundError, match=r"f\.json"):
        net(batch_of())
    (tmp_path / "f.json").write_text(FREQUENCIES.to_json())
    assert net(batch_of())["loss_scst"].isfinite()


def test_what_is_missing_is_told(net):
    with pytest.raises(ValueError, match=r"SCST weighs n-grams.*x2vlm caption-frequencies"):
        model_of(document_frequencies=None)(batch_of())
    with pytest.raises(ValueError, match=r"the batch, but it has none\. Load them with AllCaptions"):
        net(replace(batch_of(), texts=[]))
    with pytest.raises(ValueError, match="samples=0 and max_length=6 are counts from 1"):
        model_of(samples=0)
    with pytest.raises(ValueError, match=r"baseline is 'samples' with samples=1\. Accepted: greedy; samples, of two"):
        model_of(baseline="samples", samples=1)
    with pytest.raises(ValueError, match=r"shards them\. Use DDP"):
        net.parameters = lambda: [type("Sharded", (), {"to_local": None})()]
        net.objectives["caption"].sample(net, None)


@pytest.mark.slow
def test_sampled_captions_get_better(seed):
    config = dict(model_type="bert", vocab_size=VOCAB, hidden_size=32, num_hidden_layers=1, num_attention_heads=2)
    config |= dict(intermediate_size=64, max_position_embeddings=20, initializer_range=0.15)
    sizes = dict(patch_size=8, embed_dim=32, depth=1, num_heads=2)
    net = tiny_model(
        vision_encoder=dict(type="TimmVisionEncoder", name="vit_tiny_patch16_224", image_size=16, options=sizes),
        text_encoder=dict(type="HFTextEncoder", config=config),
        fusion_encoder=dict(type="CrossAttentionFusion", depth=2, num_heads=2, init_std=0.15),
        objectives=dict(
            caption=dict(
                type="SCST", tokenizer=TOKENIZER, document_frequencies=FREQUENCIES, samples=8, max_length=5, prompt=""
            )
        ),
    ).eval()
    optimizer, scores = torch.optim.AdamW(net.parameters(), lr=3e-3), []
    for _ in range(120):
        optimizer.zero_grad()
        found = net(batch_of())
        found["loss_scst"].backward()
        optimizer.step()
        scores.append(found["sampled_cider"].item())
    first, last = sum(scores[:10]) / 10, sum(scores[-10:]) / 10
    assert last > 1.5 * first  # 68.2 and 34.7 where this was written
