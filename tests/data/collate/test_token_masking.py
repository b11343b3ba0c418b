import random
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from x2vlm.data.collate.token_masking import Masking, TokenMasker, choose_positions, mask_tokens, subword_continuations
from x2vlm.data.tokenizer import bert_vocab

WHOLE = Masking(prob=0.25, max_masks=12, span_prob=0.0)
MASK, VOCAB = 4, 200


def positions(length, masking, continues=None, draws=300):
    rng = random.Random(0)
    return [choose_positions(length, masking, continues or [False] * length, rng) for _ in range(draws)]


maskings = st.builds(
    Masking,
    prob=st.floats(0.01, 1),
    max_masks=st.integers(1, 20),
    whole_word=st.booleans(),
    span_prob=st.sampled_from([0.0, 0.2, 1.0]),
    max_span=st.integers(2, 5),
)


@given(masking=maskings, continues=st.lists(st.booleans(), min_size=1, max_size=40), seed=st.integers(0, 999))
def test_exactly_n_are_marked_and_never_the_first(masking, continues, seed):
    continues = [False, *continues]
    length = len(continues)
    chosen = choose_positions(length, masking, continues, random.Random(seed))
    wanted = min(masking.max_masks, max(1, round(length * masking.prob)), length - 1)
    assert len(chosen) == wanted
    assert chosen == sorted(set(chosen)) and chosen[0] >= 1 and chosen[-1] < length


@pytest.mark.parametrize(
    ("length", "prob", "expected"),
    [(3, 0.5, 2), (5, 0.5, 2), (7, 0.5, 4), (9, 0.5, 4), (30, 0.5, 12), (4, 0.1, 1), (10, 0.4, 4), (2, 1.0, 1)],
)  # 1.5 -> 2, 2.5 -> 2, 3.5 -> 4, 4.5 -> 4: halves go to the even side; at most 12; at least 1
def test_the_number_of_masks_follows_the_length(length, prob, expected):
    assert {len(chosen) for chosen in positions(length, Masking(prob=prob), draws=20)} == {expected}


def test_the_last_token_can_be_masked_and_all_are_equally_likely():
    counts = Counter(p for chosen in positions(6, Masking(prob=0.2, span_prob=0.0), draws=5000) for p in chosen)
    assert sorted(counts) == [1, 2, 3, 4, 5]
    assert all(abs(count / 5000 - 0.2) < 0.02 for count in counts.values())


def test_a_masked_piece_takes_its_word_along():
    continues = [False, False, True, False, True, False, True, False]  # [CLS] a ##a b ##b c ##c [SEP]
    for chosen in positions(8, WHOLE, continues):  # two of eight
        assert 7 in chosen or chosen in ([1, 2], [3, 4], [5, 6])


def test_without_whole_words_they_are_cut():
    continues = [False, False, True, False, True, False, True, False]
    loose = Masking(prob=0.25, whole_word=False, span_prob=0.0)
    assert [2, 3] in positions(8, loose, continues)


def test_more_than_n_are_thinned_out_at_random():
    continues = [False, False, True, True, True, False]  # one word of four pieces, then [SEP]
    chosen = positions(6, Masking(prob=0.34, span_prob=0.0), continues)  # two of six
    assert {len(each) for each in chosen} == {2}
    assert [1, 3] in chosen and [2, 4] in chosen


def test_spans_mark_neighbours():
    always, never = (Masking(prob=0.1, whole_word=False, span_prob=p, max_span=2) for p in (1.0, 0.0))
    together = [np.mean([b - a == 1 for a, b in positions(21, masking)]) for masking in (always, never)]  # two of 21
    assert together[0] > 0.9 and together[1] < 0.2


class Scripted(random.Random):
    """Visits some positions before all others; notes between which lengths a span is drawn, and takes the shortest."""

    def __init__(self, *first):
        super().__init__(0)
        self.first, self.lengths = first, set()

    def shuffle(self, candidates):
        candidates[:] = [*self.first, *(position for position in candidates if position not in self.first)]

    def randint(self, low, high):
        self.lengths.add((low, high))
        return low


def test_a_span_has_two_to_max_span_tokens():
    rng = Scripted(5)
    masking = Masking(prob=0.2, whole_word=False, span_prob=1.0, max_span=4)
    assert choose_positions(10, masking, [False] * 10, rng) == [5, 6]
    assert rng.lengths == {(2, 4)}


def test_a_span_ends_with_the_text():
    masking = Masking(prob=0.1, whole_word=False, span_prob=1.0)
    assert choose_positions(10, masking, [False] * 10, Scripted(9)) == [9]


def test_no_span_starts_where_a_token_is_marked_already():
    masking = Masking(prob=0.4, whole_word=False, span_prob=1.0)
    assert choose_positions(10, masking, [False] * 10, Scripted(5, 6)) == [1, 2, 5, 6]


def test_a_span_in_words_is_widened_to_whole_words():
    continues = [False, False, True, False, False, True, True]  # [CLS] a ##a b c ##c ##c
    masking = Masking(prob=0.57, span_prob=1.0)  # four of seven
    assert choose_positions(7, masking, continues, Scripted(3)) == [3, 4, 5, 6]


def test_a_prompt_is_neither_masked_nor_counted():
    prompted = Masking(prob=0.5, prompt_tokens=3, span_prob=0.0)
    chosen = positions(10, prompted)
    assert {len(each) for each in chosen} == {4}  # round(7 / 2), half to even
    assert min(min(each) for each in chosen) == 4
    assert choose_positions(4, prompted, [False] * 4, random.Random(0)) == []


def test_of_the_chosen_eight_tenths_are_masked_one_tenth_is_random_and_one_stays():
    rng, outcome, replaced = random.Random(0), Counter(), Counter()
    ids = [2, *range(100, 110), 3]
    for _ in range(2000):
        masked = mask_tokens(ids, Masking(prob=1.0), [False] * 12, MASK, VOCAB, rng)
        for position, label in zip(masked.positions, masked.labels, strict=True):
            assert label == ids[position]
            new = masked.ids[position]
            outcome["mask" if new == MASK else "same" if new == label else "random"] += 1
            replaced[new] += new not in (MASK, label)
    shares = {kind: count / outcome.total() for kind, count in outcome.items()}
    # A random entry is [MASK] or the token itself once in 200.
    assert shares == pytest.approx({"mask": 0.8005, "same": 0.1005, "random": 0.099}, abs=0.01)
    assert {0, 1, 2, 3, VOCAB - 1} <= {index for index, count in replaced.items() if count}  # special ones too


def test_tokens_that_were_not_chosen_stay():
    ids = [2, *range(100, 118), 3]
    masked = mask_tokens(ids, Masking(prob=0.3), [False] * 20, MASK, VOCAB, random.Random(1))
    assert [i for p, i in enumerate(masked.ids) if p not in masked.positions] == [
        i for p, i in enumerate(ids) if p not in masked.positions
    ]
    assert ids == [2, *range(100, 118), 3]  # the input is not changed


def test_the_same_generator_state_gives_the_same_masks():
    draw = [mask_tokens(range(20), Masking(), [False] * 20, MASK, VOCAB, random.Random(7)) for _ in range(2)]
    assert draw[0] == draw[1]


def saved_as(kind):
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    start = {"▁": pre_tokenizers.Metaspace(), "Ġ": pre_tokenizers.ByteLevel(add_prefix_space=False)}[kind]
    pieces = ["<s>", "</s>", "<pad>", "<mask>", f"{kind}dog", "s", f"{kind}mat"]
    tokenizer = Tokenizer(models.WordLevel({piece: i for i, piece in enumerate(pieces)}, unk_token="<pad>"))
    tokenizer.pre_tokenizer = start
    names = dict(cls_token="<s>", sep_token="</s>", pad_token="<pad>", mask_token="<mask>")
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, **names)


@pytest.mark.parametrize("kind", ["▁", "Ġ"])
def test_sentencepiece_and_byte_level_pieces_without_a_mark_continue(kind):
    assert np.flatnonzero(subword_continuations(saved_as(kind))).tolist() == [5]


def test_word_pieces_with_a_mark_continue_and_special_tokens_never_do():
    tokenizer = bert_vocab(["dog", "##s", "mat"])
    continuing = [tokenizer.convert_ids_to_tokens(int(i)) for i in np.flatnonzero(subword_continuations(tokenizer))]
    assert continuing == ["##s"]
    assert not subword_continuations(bert_vocab(["dog", "mat"])).any()


def test_a_masker_reads_the_pieces_of_its_tokenizer():
    tokenizer = bert_vocab(["dog", "##s"])
    cls, dog, s, sep = tokenizer.convert_tokens_to_ids(["[CLS]", "dog", "##s", "[SEP]"])
    masker = TokenMasker(tokenizer, Masking(prob=0.5, span_prob=0.0))  # two of four
    drawn = {tuple(masker([[cls, dog, s, sep]], random.Random(seed))[0].positions) for seed in range(60)}
    assert (1, 2) in drawn
    assert all(3 in chosen for chosen in drawn - {(1, 2)})


def test_a_tokenizer_without_mask_token_is_refused():
    tokenizer = bert_vocab(["dog"])
    tokenizer.mask_token = None
    with pytest.raises(ValueError, match="no mask token"):
        TokenMasker(tokenizer, Masking())


@pytest.mark.parametrize(
    ("option", "value"),
    [("prob", 0), ("prob", 1.1), ("max_masks", 0), ("span_prob", 2), ("max_span", 1), ("prompt_tokens", -1)],
)
def test_a_number_without_meaning_is_named(option, value):
    with pytest.raises(ValueError, match=f"masking.{option} is {value}"):
        Masking(**{option: value})


def test_a_misspelt_option_is_named_with_the_nearest():
    with pytest.raises(ValueError, match=r"masking has no option 'max_mask'\. Did you mean 'max_masks'"):
        Masking.of(dict(prob=0.4, max_mask=10))
