"""Texts are encoded once each, with little padding, and come out in their order with the same numbers."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.gallery.test_processes import in_two_processes
from x2vlm.gallery.ragged_tokens import RaggedTokens, alike, encode_words, encode_words_together
from x2vlm.models.eval_mode import eval_mode


def some_words(count, seed=0, longest=9):
    generator = torch.Generator().manual_seed(seed)
    lengths = torch.randint(2, longest, (count,), generator=generator)
    mask = torch.arange(int(lengths.max())) < lengths[:, None]
    return RaggedTokens.of(torch.randint(1, 30, mask.shape, generator=generator) * mask, mask)


def test_padding_and_taking_it_off_again_changes_nothing():
    words = some_words(7)
    ids, mask = words.padded()
    again = RaggedTokens.of(ids, mask)
    assert torch.equal(again.tokens, words.tokens)
    assert torch.equal(again.ends, words.ends)
    assert not ids[~mask].any()


@given(index=st.lists(st.integers(0, 6), min_size=1, max_size=12))
def test_chosen_words_are_those_of_the_padded_rows(index):
    words = some_words(7)
    ids, mask = words.padded()
    chosen, chosen_mask = words.select(torch.tensor(index)).padded()
    length = chosen_mask.shape[1]
    assert torch.equal(chosen, ids[index][:, :length])
    assert torch.equal(chosen_mask, mask[index][:, :length])


@given(lengths=st.lists(st.integers(1, 40), max_size=80), most=st.integers(1, 40))
def test_texts_of_about_the_same_length_are_together_and_none_is_lost(lengths, most):
    lengths = torch.tensor(lengths, dtype=torch.long)
    batches = list(alike(lengths, most))
    assert sorted(i for batch in batches for i in batch.tolist()) == list(range(len(lengths)))
    assert all(len(batch) <= most for batch in batches)
    for batch in batches:
        padding = int((lengths[batch].max() - lengths[batch]).sum())
        assert len(batch) <= 8 or padding <= 0.1 * len(batch) * int(lengths[batch].max())


def test_length_buckets_give_the_numbers_of_each_text_alone_in_the_order_of_the_texts(model):
    words = some_words(40)
    with eval_mode(model):
        together = encode_words(model, words, chunk=16)
        for number in range(len(words)):
            ids, mask = words.select(torch.tensor([number])).padded()
            alone, length = model.encode_text(ids, mask), ids.shape[1]
            torch.testing.assert_close(together.embeds[number, :length], alone.embeds[0], atol=1e-5, rtol=0)
            torch.testing.assert_close(together.feat[number], alone.feat[0], atol=1e-5, rtol=0)
            assert together.mask[number].sum() == length


def test_of_equal_texts_one_is_encoded_and_little_padding_is_computed(model, monkeypatch):
    words = some_words(64)
    words = words.select(torch.arange(64).repeat(3))
    shapes, encode = [], model.encode_text
    monkeypatch.setattr(model, "encode_text", lambda ids, mask: shapes.append(ids.shape) or encode(ids, mask))
    with eval_mode(model):
        view = encode_words(model, words, chunk=16)
    different, which = words.distinct()
    assert sum(rows for rows, _ in shapes) == len(different) <= 64
    real = int(words.select(different).lengths.sum())
    assert real <= sum(rows * length for rows, length in shapes) <= 1.1 * real
    assert torch.equal(view.feat[:64], view.feat[128:])
    assert torch.equal(words.select(different[which]).tokens, words.tokens)


def test_two_processes_share_the_texts_and_both_have_all(model, tmp_path):
    words = some_words(11)

    def task(rank):
        counts, encode = [], model.encode_text
        model.encode_text = lambda ids, mask: counts.append(len(ids)) or encode(ids, mask)
        with eval_mode(model):
            view = encode_words_together(model, words)
        return sum(counts), view.embeds.numpy()

    results = in_two_processes(task, tmp_path)
    with eval_mode(model):
        expected = encode_words(model, words).embeds
    assert [results[rank][0] for rank in range(2)] == [6, 5]
    for rank in range(2):
        torch.testing.assert_close(torch.from_numpy(results[rank][1]), expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("count", [0, 1])
def test_a_row_of_few_texts_can_be_joined(count):
    parts = [some_words(3)] * count
    assert len(RaggedTokens.join(parts)) == 3 * count
