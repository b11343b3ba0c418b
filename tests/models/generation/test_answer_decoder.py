"""The answer decoder against BERT's own decoder, and against slower ways of the same."""

import json

import pytest
import torch
from torch.nn import functional as F
from transformers import BertConfig, BertLMHeadModel

from x2vlm.models.generation.answer_decoder import AnswerDecoder
from x2vlm.models.generation.kv_cache import KVCache
from x2vlm.weights.published_names import BERT_NAMES, FUSION_NAMES
from x2vlm.weights.published_state import from_published

WORDS, WIDTH = 20, 16


def tiny_decoder(**changes):
    torch.manual_seed(0)
    options = dict(
        width=WIDTH, vocab_size=WORDS, depth=2, num_heads=2, mlp_width=32, init_std=0.3, max_positions=12, dropout=0.0
    )
    return AnswerDecoder(**(options | changes)).eval()


def questions(count=3, length=5, seed=1):
    generator = torch.Generator().manual_seed(seed)
    states = torch.randn(count, length, WIDTH, generator=generator)
    key_mask = torch.ones(count, length, dtype=torch.bool)
    key_mask[-1, 3:] = False
    return states, key_mask


def answers(count, length=4, seed=2):
    ids = torch.randint(5, WORDS, (count, length), generator=torch.Generator().manual_seed(seed))
    ids[:, 0] = 2
    mask = torch.ones(count, length, dtype=torch.bool)
    mask[0, length - 1 :] = False
    return ids * mask, mask


def as_bert(decoder):
    """transformers' BERT decoder with the same weights."""
    config = BertConfig(
        vocab_size=WORDS,
        hidden_size=WIDTH,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=12,
        is_decoder=True,
        add_cross_attention=True,
    )
    net = BertLMHeadModel(config).eval()
    ours, theirs = decoder.state_dict(), {}
    for name, value in ours.items():
        if name.startswith("embeddings."):
            theirs[f"bert.{name}"] = value
        elif name.startswith("layer."):
            _, number, part = name.split(".", 2)
            part, _, kind = part.rpartition(".")
            theirs[f"bert.encoder.layer.{number}.{FUSION_NAMES[part]}.{kind}"] = value
        else:
            theirs[f"cls.predictions.{'' if name == 'bias' else 'transform.'}{name}"] = value
    theirs["cls.predictions.decoder.weight"] = ours["embeddings.word_embeddings.weight"]
    theirs["cls.predictions.decoder.bias"] = ours["bias"]
    lacking, unknown = net.load_state_dict(theirs, strict=False)
    assert not unknown
    assert all("position_ids" in name for name in lacking)
    return net


def test_scores_are_those_of_berts_decoder():
    decoder, (states, key_mask), (ids, mask) = tiny_decoder(), questions(), answers(3)
    expected = as_bert(decoder)(
        input_ids=ids, attention_mask=mask.long(), encoder_hidden_states=states, encoder_attention_mask=key_mask.long()
    ).logits
    ours = decoder.score(decoder(ids, decoder.project(states), key_mask))
    torch.testing.assert_close(ours[mask], expected[mask], atol=1e-5, rtol=1e-5)


def test_no_token_knows_those_behind_it():
    decoder, (states, key_mask), (ids, _) = tiny_decoder(), questions(), answers(3)
    memory = decoder.project(states)
    changed = ids.clone()
    changed[:, 2:] = 7
    torch.testing.assert_close(decoder(ids, memory, key_mask)[:, :2], decoder(changed, memory, key_mask)[:, :2])


def test_several_answers_to_a_question_are_as_if_each_had_been_read_alone():
    decoder, (states, key_mask), (ids, _) = tiny_decoder(), questions(2), answers(6)
    together = decoder(ids, decoder.project(states), key_mask)
    alone = [
        decoder(ids[i : i + 1], decoder.project(states[i // 3 : i // 3 + 1]), key_mask[i // 3 : i // 3 + 1])
        for i in range(6)
    ]
    torch.testing.assert_close(together, torch.cat(alone), atol=1e-5, rtol=1e-5)


def test_going_on_token_by_token_equals_reading_all_at_once():
    decoder, (states, key_mask), (ids, _) = tiny_decoder(first_position=2), questions(), answers(6)
    memory, cache, steps = decoder.project(states), KVCache(), []
    for some in (ids[:, :1], ids[:, 1:3], ids[:, 3:]):
        hidden = decoder.advance(some, memory, key_mask, cache)
        steps.append(hidden)
    torch.testing.assert_close(torch.cat(steps, dim=1), decoder(ids, memory, key_mask), atol=1e-5, rtol=1e-5)


def test_an_answer_costs_the_cross_entropy_of_its_real_tokens_but_the_first():
    decoder, (states, key_mask), (ids, mask) = tiny_decoder(), questions(), answers(3)
    scores = decoder.score(decoder(ids, decoder.project(states), key_mask))
    expected = []
    for row in range(3):
        cost = 0.0
        for place in range(1, ids.shape[1]):
            if mask[row, place]:
                cost = cost - scores[row, place - 1].log_softmax(-1)[ids[row, place]]
        expected.append(cost)
    torch.testing.assert_close(
        decoder.costs(ids, mask.numpy(), decoder.project(states), key_mask), torch.stack(expected)
    )


def test_padding_changes_neither_costs_nor_gradients():
    decoder, (states, key_mask), (ids, mask) = tiny_decoder(), questions(), answers(3)
    found = []
    for more in (0, 3):
        decoder.zero_grad()
        cost = decoder.costs(F.pad(ids, (0, more)), F.pad(mask, (0, more)).numpy(), decoder.project(states), key_mask)
        cost.sum().backward()
        found.append((cost.detach(), *(p.grad.clone() for p in decoder.parameters() if p.grad is not None)))
    for ours, padded in zip(*found, strict=True):
        torch.testing.assert_close(padded, ours, atol=1e-5, rtol=1e-4)


def test_a_first_position_moves_the_table():
    decoder, moved = tiny_decoder(), tiny_decoder(first_position=2)
    table = decoder.embeddings.position_embeddings.weight
    moved.load_state_dict(decoder.state_dict())
    with torch.no_grad():
        moved.embeddings.position_embeddings.weight[2:] = table[:-2]
    (states, key_mask), (ids, _) = questions(), answers(3)
    torch.testing.assert_close(
        moved(ids, moved.project(states), key_mask),
        decoder(ids, decoder.project(states), key_mask),
        atol=1e-5,
        rtol=1e-5,
    )


def test_published_names_and_shapes_are_all_there(shared):
    listed = json.loads((shared / "golden" / "state_dict_names.json").read_text())["tiny"]["XVLMForVQA"]
    state = {name: torch.zeros(shape) for name, shape in listed}
    prefix = "objectives.answer.decoder."
    wanted = {
        name.removeprefix(prefix): tuple(value.shape)
        for name, value in from_published(state).items()
        if name.startswith(prefix)
    }
    ours = AnswerDecoder(width=48, vocab_size=200, depth=2, num_heads=4, mlp_width=96, max_positions=64)
    assert {name: tuple(value.shape) for name, value in ours.state_dict().items()} == wanted
    assert len(wanted) == 5 + 2 * (2 * len(FUSION_NAMES)) + 5
    assert len(FUSION_NAMES) > len(BERT_NAMES)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (dict(num_heads=3), "cannot be split in 3 heads"),
        (dict(depth=0), "a layer or more"),
        (dict(first_position=12), "a position in the table"),
    ],
)
def test_options_that_mean_nothing_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        tiny_decoder(**options)


def test_answers_that_do_not_fit_are_reported():
    decoder, (states, key_mask) = tiny_decoder(), questions()
    with pytest.raises(ValueError, match=r"answer of 13 tokens is too long.*12 positions from 0.*max_answer_tokens"):
        decoder(torch.zeros(3, 13, dtype=torch.long), decoder.project(states), key_mask)
    with pytest.raises(ValueError, match="4 answers to 3 questions"):
        decoder(torch.zeros(4, 2, dtype=torch.long), decoder.project(states), key_mask)
