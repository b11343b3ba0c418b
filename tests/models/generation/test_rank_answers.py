"""Ranking and writing of answers against their formulas, one answer at a time."""

import itertools

import pytest
import torch

from tests.models.generation.test_answer_decoder import WORDS, questions, tiny_decoder
from x2vlm.models.generation.rank_answers import rank_answers, write_answers

CLS, SEP = 2, 3


@pytest.fixture
def candidates():
    """Of one to three words; numbers 0, 2 and 5 share their first word, as 1 and 4 do."""
    rows = [[7], [8, 9], [7, 9], [10, 11, 12], [8], [7, 7, 7], [13]]
    rows = [[CLS, *row, SEP] for row in rows]
    length = max(map(len, rows))
    ids = torch.tensor([row + [0] * (length - len(row)) for row in rows])
    return ids, ids != 0


def next_words(decoder, states, key_mask, tokens):
    """Log probabilities of the next word, for one question and the tokens so far."""
    ids = torch.tensor([tokens])
    return decoder.score(decoder(ids, decoder.project(states[None]), key_mask[None]))[0, -1].log_softmax(-1)


def naive_ranking(decoder, states, key_mask, candidates, k, twice):
    """SPEC 7: the k best first tokens, then log p(first) - summed loss, softmax over k; question by question."""
    ids, mask = candidates
    found = []
    for state, sight in zip(states, key_mask, strict=True):
        first = next_words(decoder, state, sight, [CLS])
        chosen = sorted(range(len(ids)), key=lambda c: -first[ids[c, 1]].item())[:k]
        scores = {}
        for c in chosen:
            tokens = ids[c][mask[c]].tolist()
            loss = -sum(next_words(decoder, state, sight, tokens[:i])[tokens[i]].item() for i in range(1, len(tokens)))
            scores[c] = (first[tokens[1]].item() if twice else 0.0) - loss
        order = sorted(scores, key=scores.get, reverse=True)
        found.append((order, torch.tensor([scores[c] for c in order]).softmax(0)))
    return found


@pytest.mark.parametrize("first_token", ["once", "twice"])
@pytest.mark.parametrize(
    ("among", "k"),
    [([0, 1, 3, 6], 2), ([0, 1, 3, 6], 3), (range(7), 7), (range(7), 100)],  # no tie at the edge of the k
)
def test_candidates_are_ranked_by_the_published_formula(candidates, among, k, first_token):
    decoder, (states, key_mask) = tiny_decoder(), questions()
    candidates = tuple(part[torch.tensor(among)] for part in candidates)
    made = rank_answers(decoder, states, key_mask, *candidates, k=k, first_token=first_token)
    for row, (order, probabilities) in enumerate(
        naive_ranking(decoder, states, key_mask, candidates, k, first_token == "twice")
    ):
        assert made.ids[row].tolist() == order
        torch.testing.assert_close(made.probabilities[row], probabilities, atol=1e-5, rtol=1e-4)


def test_the_first_token_counts_twice_as_published_and_once_by_default(candidates):
    decoder, (states, key_mask) = tiny_decoder(), questions(1)
    once = rank_answers(decoder, states, key_mask, *candidates, k=7)
    twice = rank_answers(decoder, states, key_mask, *candidates, k=7, first_token="twice")
    first = next_words(decoder, states[0], key_mask[0], [CLS])
    by_candidate = {c: score for c, score in zip(once.ids[0].tolist(), once.scores[0].tolist(), strict=True)}
    for c, score in zip(twice.ids[0].tolist(), twice.scores[0].tolist(), strict=True):
        assert score - by_candidate[c] == pytest.approx(first[candidates[0][c, 1]].item(), abs=1e-4)


def test_of_candidates_with_the_same_first_word_the_earlier_ones_go_on(candidates):
    decoder, (states, key_mask) = tiny_decoder(), questions(1)
    only = torch.tensor([0, 2, 5])
    made = rank_answers(decoder, states, key_mask, candidates[0][only], candidates[1][only], k=2)
    assert sorted(made.ids[0].tolist()) == [0, 1]


@pytest.mark.parametrize("chunk", [1, 4, 1000])
def test_chunks_change_nothing(candidates, chunk):
    decoder, (states, key_mask) = tiny_decoder(), questions()
    whole = rank_answers(decoder, states, key_mask, *candidates, k=6)
    parts = rank_answers(decoder, states, key_mask, *candidates, k=6, chunk=chunk)
    assert torch.equal(parts.ids, whole.ids)
    torch.testing.assert_close(parts.scores, whole.scores, atol=1e-5, rtol=1e-5)


def test_a_question_is_projected_once_however_many_candidates_there_are(candidates, monkeypatch):
    decoder, (states, key_mask), calls = tiny_decoder(), questions(), []
    project = decoder.project
    monkeypatch.setattr(decoder, "project", lambda states: calls.append(len(states)) or project(states))
    rank_answers(decoder, states, key_mask, *candidates, k=7, chunk=3)
    assert calls == [3]


@pytest.mark.parametrize("first_token", ["once", "twice"])
@pytest.mark.parametrize("chunk", [3, 40, 256])
@pytest.mark.parametrize("seed", range(3))
def test_what_candidates_share_changes_no_score(seed, chunk, first_token):
    """Against each candidate read alone, among many that share words, end early, are empty or are there twice."""
    generator = torch.Generator().manual_seed(seed)
    lengths = torch.randint(2, 8, (60,), generator=generator)  # [CLS] and [SEP] included
    ids = torch.randint(5, 8, (60, 7), generator=generator)
    ids[:, 0], ids[-1] = CLS, ids[0]
    lengths[-1] = lengths[0]
    mask = torch.arange(7) < lengths[:, None]
    ids = ids.scatter(1, lengths[:, None] - 1, SEP).masked_fill(~mask, 0)
    decoder, (states, key_mask) = tiny_decoder(first_position=2), questions()
    made = rank_answers(decoder, states, key_mask, ids, mask, k=40, first_token=first_token, chunk=chunk)
    for row in range(3):
        memory = decoder.project(states[row : row + 1])
        chosen = made.ids[row]
        assert len(set(chosen.tolist())) == 40
        costs = torch.cat(
            [decoder.costs(ids[c][None], mask[c][None].numpy(), memory, key_mask[row : row + 1]) for c in chosen]
        )
        first = next_words(decoder, states[row], key_mask[row], [CLS])[ids[chosen, 1]]
        expected = first - costs if first_token == "twice" else -costs
        torch.testing.assert_close(made.scores[row], expected, atol=1e-5, rtol=1e-5)
        assert (made.scores[row].diff() <= 0).all()


def test_a_beginning_is_read_and_scored_once_for_each_question(candidates, monkeypatch):
    decoder, (states, key_mask), read, scored = tiny_decoder(), questions(), [], []
    embeddings, score = decoder.embeddings.forward, decoder.score
    monkeypatch.setattr(decoder.embeddings, "forward", lambda ids, *at: read.append(ids.shape) or embeddings(ids, *at))
    monkeypatch.setattr(decoder, "score", lambda hidden: scored.append(hidden.shape[:-1].numel()) or score(hidden))
    rank_answers(decoder, states, key_mask, *candidates, k=7)
    distinct = 10  # 7, 8, 8 9, 7 9, 10, 10 11, 10 11 12, 7 7, 7 7 7, 13
    assert read == [(3, 1), (3, distinct)]
    assert scored == [3, 3 * distinct]


def test_candidates_without_words_are_ranked_by_their_end():
    decoder, (states, key_mask) = tiny_decoder(), questions()
    ids = torch.tensor([[CLS, SEP], [CLS, SEP]])
    made = rank_answers(decoder, states, key_mask, ids, ids != 0)
    for row in range(3):
        expected = next_words(decoder, states[row], key_mask[row], [CLS])[SEP].expand(2)
        torch.testing.assert_close(made.scores[row], expected, atol=1e-5, rtol=1e-5)


def test_candidates_that_are_too_long_are_reported():
    decoder, (states, key_mask) = tiny_decoder(max_positions=3), questions()
    ids = torch.tensor([[CLS, 7, 8, SEP], [CLS, 7, SEP, 0], [CLS, 7, 8, SEP]])
    assert rank_answers(decoder, states, key_mask, ids, ids != 0).ids.shape == (3, 3)
    longer = torch.tensor([[CLS, 7, 8, 9, SEP]])
    with pytest.raises(ValueError, match="4 tokens is too long: the decoder has 3 positions"):
        rank_answers(decoder, states, key_mask, longer, longer != 0)


def test_greedy_writing_takes_the_likeliest_word_until_the_end():
    decoder, (states, key_mask) = tiny_decoder(), questions()
    with torch.no_grad():
        decoder.bias[SEP] += 2.0  # answers of several lengths
        made = write_answers(decoder, states, key_mask, CLS, SEP, max_tokens=6)
    for row in range(3):
        tokens, score = [CLS], 0.0
        while len(tokens) < 7 and tokens[-1] != SEP:
            chances = next_words(decoder, states[row], key_mask[row], tokens)
            tokens.append(int(chances.argmax()))
            score += chances.max().item()
        expected = [*tokens[1:], *[SEP] * (made.ids.shape[2] - len(tokens) + 1)]
        assert made.ids[row, 0].tolist() == expected
        assert made.scores[row, 0].item() == pytest.approx(score, abs=1e-4)


def test_as_many_beams_as_words_find_the_best_answer_of_all():
    decoder, (states, key_mask) = tiny_decoder(), questions(2)
    with torch.no_grad():
        decoder.bias[SEP] += 1.0
    made = write_answers(decoder, states, key_mask, CLS, SEP, num_beams=WORDS, max_tokens=2)
    for row in range(2):
        first = next_words(decoder, states[row], key_mask[row], [CLS])
        every = {(SEP, SEP): first[SEP].item()}
        for one, two in itertools.product(range(WORDS), range(WORDS)):
            if one != SEP:
                every[one, two] = (first[one] + next_words(decoder, states[row], key_mask[row], [CLS, one])[two]).item()
        best = sorted(every, key=every.get, reverse=True)[:WORDS]
        assert [tuple(ids) for ids in made.ids[row].tolist()] == best
        torch.testing.assert_close(made.scores[row], torch.tensor([every[one] for one in best]), atol=1e-4, rtol=1e-4)


def test_writing_does_not_depend_on_the_other_questions():
    decoder, (states, key_mask) = tiny_decoder(), questions()
    together = write_answers(decoder, states, key_mask, CLS, SEP, num_beams=3, max_tokens=5)
    for row in range(3):
        alone = write_answers(decoder, states[row : row + 1], key_mask[row : row + 1], CLS, SEP, 3, 5)
        length = alone.ids.shape[2]
        assert torch.equal(together.ids[row, :, :length], alone.ids[0])
        torch.testing.assert_close(together.scores[row], alone.scores[0], atol=1e-4, rtol=1e-4)


def test_options_that_mean_nothing_are_refused(candidates):
    decoder, (states, key_mask) = tiny_decoder(), questions()
    with pytest.raises(ValueError, match=r"'thrice'.*Accepted: once, twice"):
        rank_answers(decoder, states, key_mask, *candidates, first_token="thrice")
    with pytest.raises(ValueError, match=r"k=0 of 7 candidates"):
        rank_answers(decoder, states, key_mask, *candidates, k=0)
    with pytest.raises(ValueError, match="at most as many beams as the 20 words"):
        write_answers(decoder, states, key_mask, CLS, SEP, num_beams=21)
