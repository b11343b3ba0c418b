"""The loss of answers against its sum, written out."""

from dataclasses import replace

import pytest
import torch

from tests.models.conftest import image_batch, random_texts, tiny_model
from x2vlm.building import ConfigError
from x2vlm.data.batch import Batch
from x2vlm.models.outputs import TextStates
from x2vlm.weights import load_into


def answering(**decoder):
    options = dict(depth=2, num_heads=2, mlp_width=16, init_std=0.3, max_positions=8) | decoder
    objectives = dict(answer=dict(type="AnswerGeneration", decoder=options))
    return tiny_model(objectives=objectives, embed_dim=None)


def with_answers(batch):
    """Two answers to the first text, none to the second, one to each other."""
    batch.answer_ids = torch.tensor([[2, 7, 3, 0], [2, 8, 9, 3], [2, 10, 3, 0], [2, 11, 12, 3]])
    batch.answer_mask = batch.answer_ids != 0
    batch.answer_owner = torch.tensor([0, 0, 2, 3])
    batch.answer_weights = torch.tensor([0.6, 0.3, 0.5, 1.0])
    return batch


def naive_loss(model, batch, states):
    """SPEC 7: sum over answers of weight * summed token cross entropy / number of images."""
    decoder, total = model.objectives["answer"].decoder, 0.0
    for ids, mask, owner, weight in zip(
        batch.answer_ids, batch.answer_mask, batch.answer_owner, batch.answer_weights, strict=True
    ):
        memory = decoder.project(states[owner][None])
        scores = decoder.score(decoder(ids[None], memory, batch.text_mask[owner][None]))[0]
        labels = ids[1:].masked_fill(~mask[1:], -100)
        total = total + weight * torch.nn.functional.cross_entropy(scores[:-1], labels, reduction="sum")
    return total / len(batch.text_ids)


def test_the_loss_is_the_weighted_sum_over_answers_by_the_number_of_questions():
    model, batch = answering(), with_answers(image_batch(4))
    encoded = model.encode(batch)
    states = model.fusion_encoder(encoded.text, encoded.context)
    torch.testing.assert_close(model(batch)["loss_answer"], naive_loss(model, batch, states))


def test_a_question_is_projected_once_however_many_answers_it_has(monkeypatch):
    model, batch, projected = answering(), with_answers(image_batch(4)), []
    decoder = model.objectives["answer"].decoder
    project = decoder.project
    monkeypatch.setattr(decoder, "project", lambda states: projected.append(len(states)) or project(states))
    batch.answer_owner = torch.tensor([0, 0, 0, 0])
    model(batch)
    assert projected == [4]


def test_questions_about_clips_and_about_nothing_are_answered_too():
    model, clips, nothing = answering(), with_answers(image_batch(4)), with_answers(Batch(**random_texts(4)))
    clips.pixels = clips.pixels[:, None].repeat(1, 3, 1, 1, 1) + torch.arange(3).view(1, 3, 1, 1, 1)
    for batch in (clips, nothing):
        encoded = model.encode(batch)
        states = model.fusion_encoder(encoded.text, encoded.context)
        torch.testing.assert_close(model(batch)["loss_answer"], naive_loss(model, batch, states))


def test_every_part_of_the_model_learns():
    model, batch = answering(), with_answers(image_batch(4))
    model.train()
    model(batch)["loss_answer"].backward()
    still = {name for name, p in model.named_parameters() if p.grad is None or not p.grad.any()}
    assert still <= {"frame_positions"}


def test_a_batch_without_answers_costs_nothing():
    model, batch = answering(), image_batch(4)
    batch.answer_ids, batch.answer_mask = torch.zeros(2, 0, 0, dtype=torch.long)
    batch.answer_owner, batch.answer_weights = torch.zeros(0, dtype=torch.long), torch.zeros(0)
    assert model(batch)["loss_answer"] == 0


def test_ranking_reads_the_fused_question():
    model, batch = answering(), image_batch(4)
    encoded = model.encode(batch)
    candidates = torch.tensor([[2, 7, 3], [2, 8, 3], [2, 9, 3]])
    objective = model.objectives["answer"]
    before = objective.rank(model.read(objective.requests(encoded)), candidates, candidates != 0)
    assert before.ids.shape == (4, 3)
    assert before.probabilities.sum(dim=1).allclose(torch.ones(4))
    other = replace(encoded, text=TextStates(encoded.text.embeds.roll(1, 0), encoded.text.mask.roll(1, 0)))
    after = objective.rank(model.read(objective.requests(other)), candidates, candidates != 0)
    assert not torch.allclose(before.scores, after.scores, atol=1e-3)


def test_a_decoder_that_cannot_be_built_is_reported_with_its_place():
    with pytest.raises(ConfigError, match=r"model\.objectives\.answer\.decoder: .*'dept'.*'depth'"):
        tiny_model(objectives=dict(answer=dict(type="AnswerGeneration", decoder=dict(dept=2))))


def test_several_images_together_and_missing_answers_are_reported():
    model, batch = answering(), image_batch(4)
    with pytest.raises(ValueError, match=r"'answer' needs batch\.answer_ids"):
        model(batch)
    batch = with_answers(image_batch(4))
    batch.text_owner = torch.arange(4)
    with pytest.raises(ValueError, match="shows several together"):
        model(batch)


@pytest.mark.parametrize(("fusion_layers", "donors"), [(2, (0, 1)), (4, (1, 3))])
def test_in_a_checkpoint_without_one_the_decoder_begins_as_all_or_every_second_fusion_layer(fusion_layers, donors):
    fusion = dict(type="CrossAttentionFusion", depth=fusion_layers, num_heads=2, mlp_width=16)
    source = tiny_model(fusion_encoder=fusion)
    objectives = dict(
        answer=dict(type="AnswerGeneration", decoder=dict(depth=2, num_heads=2, mlp_width=16, max_positions=16))
    )
    model = tiny_model(fusion_encoder=fusion, objectives=objectives, embed_dim=None)
    decoder = model.objectives["answer"].decoder
    new = decoder.layer[0].crossattention.key.weight.detach().clone()
    load_into(model, source.state_dict())
    for layer, donor in zip(decoder.layer, donors, strict=True):
        given = source.fusion_encoder.layer[donor]
        for part in ("attention.query.weight", "crossattention.dense.bias", "ffn.LayerNorm.weight"):
            assert torch.equal(layer.get_parameter(part), given.get_parameter(part))
    embeddings = source.text_encoder.net.embeddings
    assert torch.equal(decoder.embeddings.word_embeddings.weight, embeddings.word_embeddings.weight)
    assert torch.equal(decoder.embeddings.position_embeddings.weight, embeddings.position_embeddings.weight)
    assert torch.equal(decoder.dense.weight, source.objectives["mlm"].dense.weight)
    assert torch.equal(decoder.bias, source.objectives["mlm"].bias)
    assert torch.equal(decoder.layer[0].crossattention.key.weight, new)  # there it reads patches, which are wider
