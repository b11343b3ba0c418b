"""Searches, over tables of words that a test writes down."""

import itertools
import math

import pytest
import torch

from x2vlm.models.generation.beam_search import BeamSearch
from x2vlm.models.generation.sampling import Sampling
from x2vlm.models.generation.search import UNLIKELY, GenerationLimits, forbid, search_of

END = 0


class Table:
    """Log-probabilities of the next word by everything written so far: random, but the same at every call."""

    def __init__(self, words=7, seed=0, sharpness=1.0, end=0.0):
        self.words, self.seed, self.sharpness, self.end, self.num_calls = words, seed, sharpness, end, 0
        self.rows = None

    def of(self, ids):
        number = hash((self.seed, *ids)) % 2**31
        scores = self.sharpness * torch.randn(self.words, generator=torch.Generator().manual_seed(number))
        scores[END] += self.end
        return scores.log_softmax(dim=0)

    def __call__(self, ids, rows):
        self.num_calls, self.rows = self.num_calls + 1, rows
        return torch.stack([self.of(row) for row in ids.tolist()])


def published(table, start, batch_size, beams, min_length, max_length, penalty, no_repeat, length_from="prompt"):
    """The search of SPEC for one text, written out: every step to the end, hypotheses as lists, no tensors."""
    steps = max_length if length_from == "prompt" else batch_size + max_length - len(start)
    frames, live = [], [((), 0.0, None)]
    for _ in range(steps):
        proposals = []
        for k, (words, score, _) in enumerate(live):
            scores = table.of([*start, *words]).tolist()
            for word in range(len(scores)):
                if no_repeat and len(words) >= no_repeat:
                    grams = {words[i : i + no_repeat] for i in range(len(words) - no_repeat + 1)}
                    if (*words[len(words) - no_repeat + 1 :], word) in grams:
                        scores[word] -= 10000
            if len(words) < min_length:
                scores[END] = -10000
            ended = words and words[-1] == END
            best = sorted(range(len(scores)), key=lambda w: -scores[w])[:beams]
            proposals += [((*words, w), scores[w] + score - 10000 * bool(ended), k) for w in best]
        live = sorted(proposals, key=lambda p: -p[1])[:beams]
        frames.append(live)
    last = next((f for f, frame in enumerate(frames) if all(p[0][-1] == END for p in frame)), len(frames) - 1)
    found = [
        (score / ((5 + len(words)) / 6) ** penalty if penalty > 0 else score, words)
        for f, frame in enumerate(frames[: last + 1])
        for words, score, _ in frame
        if words[-1] == END or f == last
    ]
    best = max(found, key=lambda pair: pair[0])
    return [w for i, w in enumerate(best[1]) if w != END or i < len(best[1]) - 1], best[0]


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("options", [dict(), dict(length_penalty=1.0), dict(no_repeat=2, min_length=2), dict(beams=1)])
def test_beam_search_is_the_published_one_for_any_batch(seed, options):
    settings = dict(beams=3, min_length=1, max_length=9, length_penalty=0.0, no_repeat=3) | options
    starts = torch.tensor([[5, 6], [6, 5], [3, 3], [1, 2]])
    table = Table(seed=seed, sharpness=2.0, end=1.0)
    found = BeamSearch(**settings)(table, starts, END)
    for start, (ids, score) in zip(starts.tolist(), found, strict=True):
        names = ("beams", "min_length", "max_length", "length_penalty", "no_repeat")
        words, best = published(table, start, 4, *(settings[name] for name in names))
        assert ids == words
        assert score == pytest.approx(best, abs=1e-4)


@pytest.mark.parametrize("seed", range(6))
def test_a_batch_of_one_writes_what_a_larger_one_writes(seed):
    starts = torch.tensor([[5, 6], [6, 5], [3, 3]])
    search = BeamSearch(min_length=1, max_length=8)
    together = search(Table(seed=seed), starts, END)
    alone = [search(Table(seed=seed), start[None], END)[0] for start in starts]
    assert [one.ids for one in together] == [one.ids for one in alone]


@pytest.mark.parametrize("seed", range(8))
def test_one_beam_is_the_greedy_text(seed):
    table = Table(seed=seed, sharpness=2.0)
    ((ids, score),) = BeamSearch(beams=1, min_length=0, max_length=12, no_repeat=0)(table, torch.tensor([[5]]), END)
    words, total = [], 0.0
    while len(words) < 12:
        scores = table.of([5, *words])
        total += scores.max().item()
        if scores.argmax() == END:
            break
        words.append(int(scores.argmax()))
    assert ids == words
    assert score == pytest.approx(total, abs=1e-5)


@pytest.mark.parametrize("seed", range(4))
def test_as_many_beams_as_texts_find_the_likeliest_of_all(seed):
    table = Table(words=4, seed=seed)
    ((ids, score),) = BeamSearch(beams=4, min_length=0, max_length=2, no_repeat=0)(table, torch.tensor([[3]]), END)
    texts = [(END,), *((a, b) for a, b in itertools.product(range(1, 4), range(4)))]
    scores = {text: sum(float(table.of([3, *text[:i]])[text[i]]) for i in range(len(text))) for text in texts}
    best = max(scores, key=scores.get)
    assert (*ids, END) == best or tuple(ids) == best
    assert score == pytest.approx(scores[best], abs=1e-5)


def test_the_search_stops_when_nothing_can_change_any_more():
    sure = Table(seed=1, end=8.0)
    found = BeamSearch(min_length=2, max_length=50)(sure, torch.tensor([[5], [6]]), END)
    assert sure.num_calls < 8
    words, score = published(sure, [5], 2, 3, 2, 50, 0.0, 3)
    assert found[0].ids == words
    assert found[0].score == pytest.approx(score, abs=1e-4)


def test_the_published_length_grows_with_the_batch():
    endless = Table(end=-50.0)
    starts = torch.tensor([[5, 6, 1, 2]] * 3)
    right = BeamSearch(max_length=6)(endless, starts, END)
    assert {len(one.ids) for one in right} == {6}
    quirk = BeamSearch(max_length=6, length_from="batch")(endless, starts, END)
    assert {len(one.ids) for one in quirk} == {3 + 6 - 4}
    assert quirk[0].ids == published(endless, [5, 6, 1, 2], 3, 3, 5, 6, 0.0, 3, "batch")[0]


def test_a_short_text_cannot_end():
    eager = Table(end=20.0)
    ((ids, _),) = BeamSearch(min_length=5, max_length=10)(eager, torch.tensor([[5]]), END)
    assert len(ids) == 5
    ((ids, _),) = BeamSearch(min_length=0, max_length=10)(eager, torch.tensor([[5]]), END)
    assert ids == []


def test_a_penalty_divides_by_the_length_and_can_prefer_longer_texts():
    # Ending at once has probability 0.4; three sure words follow the other start of 0.3.
    def reader(ids, rows):
        certain = torch.full((len(ids), 5), -20.0)
        for row, words in enumerate(ids[:, 1:].tolist()):
            if not words:
                certain[row] = torch.tensor([0.4, 0.3, 0.1, 0.1, 0.1]).log()
            else:
                certain[row, END if len(words) == 3 else 1] = 0.0
        return certain

    start = torch.tensor([[2]])
    reference = BeamSearch(beams=2, min_length=0, max_length=6, no_repeat=0)(reader, start, END)[0]
    assert reference.ids == []
    assert reference.score == pytest.approx(math.log(0.4))
    long = BeamSearch(beams=2, min_length=0, max_length=6, no_repeat=0, length_penalty=1.0)(reader, start, END)[0]
    assert long.ids == [1, 1, 1]
    assert long.score == pytest.approx(math.log(0.3) / (9 / 6))


@pytest.mark.parametrize(
    ("words", "run", "forbidden"),
    [
        ([1, 2, 3, 1, 2], 3, {3}),
        ([1, 1, 1], 3, {1}),
        ([1, 2, 4, 1, 2, 3, 1, 2], 3, {3, 4}),
        ([1, 2, 3, 1, 2, 3, 1, 2], 3, {3}),
        ([1, 2, 3, 4, 1], 3, set()),
        ([1, 2], 3, set()),
        ([1, 2, 4], 1, {1, 2, 4}),
        ([], 1, set()),
    ],
)
def test_only_words_that_repeat_a_run_are_forbidden(words, run, forbidden):
    log_probs = torch.arange(-5.0, 0.0)[None]
    made = forbid(log_probs, torch.tensor([words], dtype=torch.long), GenerationLimits(END, 0, run))
    expected = [one + UNLIKELY * (word in forbidden) for word, one in enumerate(log_probs[0].tolist())]
    assert made[0].tolist() == expected


def test_each_text_is_forbidden_its_own_runs():
    log_probs = forbid(torch.zeros(2, 5), torch.tensor([[1, 2, 3, 1, 2], [1, 2, 3, 4, 1]]), GenerationLimits(END, 0, 3))
    assert log_probs.tolist() == [[0, 0, 0, -10000, 0], [0] * 5]


def test_beams_are_read_on_from_those_they_come_from():
    table = Table(seed=3)
    given = []

    def reader(ids, rows):
        if given:
            assert torch.equal(ids[:, :-1], given[-1][rows])
        given.append(ids)
        return table(ids, rows)

    BeamSearch(max_length=6)(reader, torch.tensor([[5], [6]]), END)
    assert len(given) > 3


def test_sampling_draws_each_word_as_often_as_it_is_likely():
    probs = torch.tensor([0.5, 0.3, 0.2])
    starts = torch.ones(4000, 1, dtype=torch.long)
    sampling = Sampling(min_length=0, max_length=1, no_repeat=0, seed=0)
    drawn = sampling(lambda ids, rows: probs.log().expand(len(ids), 3), starts, END)
    counts = torch.bincount(torch.tensor([one.ids[0] if one.ids else END for one in drawn]), minlength=3)
    torch.testing.assert_close(counts / 4000, probs, atol=0.03, rtol=0)
    assert drawn[0].score == pytest.approx(probs[drawn[0].ids[0] if drawn[0].ids else END].log().item())


def test_sampling_limits_words_to_the_likeliest():
    probs = torch.tensor([[0.15, 0.4, 0.05, 0.3, 0.1]])
    torch.testing.assert_close(Sampling(top_k=2).weights(probs.log()), torch.tensor([[0, 4 / 7, 0, 3 / 7, 0]]))
    torch.testing.assert_close(Sampling(top_p=0.5).weights(probs.log()), torch.tensor([[0, 4 / 7, 0, 3 / 7, 0]]))
    torch.testing.assert_close(Sampling(top_p=0.3).weights(probs.log()), torch.tensor([[0, 1.0, 0, 0, 0]]))
    torch.testing.assert_close(Sampling(temperature=0.5).weights(probs.log()), probs**2 / (probs**2).sum())


def test_a_seed_repeats_a_sample_and_what_must_not_come_does_not():
    starts = torch.tensor([[5], [6], [4]])
    sampling = Sampling(seed=4, min_length=3, max_length=20)
    first, second = sampling(Table(), starts, END), sampling(Table(), starts, END)
    assert first == second
    assert first != Sampling(seed=5, min_length=3, max_length=20)(Table(), starts, END)
    for one in first:
        assert 3 <= len(one.ids) <= 20
        runs = [tuple(one.ids[i : i + 3]) for i in range(len(one.ids) - 2)]
        assert len(runs) == len(set(runs))


def test_scores_that_are_not_numbers_are_refused():
    with pytest.raises(ValueError, match="not numbers"):
        BeamSearch()(lambda ids, rows: torch.full((len(ids), 5), float("nan")), torch.tensor([[1]]), END)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (dict(beams=0), "beams is 0; expected 1"),
        (dict(beam=2), "no argument 'beam'. Did you mean 'beams'"),
        (dict(length_from="bach"), "Did you mean 'batch'"),
        (dict(length_penalty=-1), "length_penalty is -1"),
        (dict(type="Sampling", temperature=0), "temperature is 0"),
        (dict(type="Sampling", top_p=0), "top_p is 0"),
        (dict(type="Samplng"), "Did you mean 'Sampling'"),
    ],
)
def test_a_search_that_cannot_work_is_explained(options, sentence):
    with pytest.raises(ValueError) as error:
        search_of(options)
    assert sentence in str(error.value)


def test_a_config_names_a_search_by_its_arguments():
    assert search_of(None) == BeamSearch()
    assert search_of(dict(beams=5, length_penalty=1.0)) == BeamSearch(beams=5, length_penalty=1.0)
    assert search_of(dict(type="Sampling", top_k=3)) == Sampling(top_k=3)
