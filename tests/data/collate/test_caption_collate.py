import random

import pytest
import torch

from x2vlm.building import ConfigError, build
from x2vlm.data.batch import Sample
from x2vlm.data.collate.caption_collate import CaptionCollate, causal_mask, duplicate_masked_tokens, prompt_ids
from x2vlm.data.tokenizer import bert_vocab
from x2vlm.registry import TRANSFORMS

TOKENIZER = bert_vocab(["a", "picture", "of", "red", "dog", "cat", "##s", "on", "mat"])
CLS, SEP, PAD, MASK = TOKENIZER.convert_tokens_to_ids(["[CLS]", "[SEP]", "[PAD]", "[MASK]"])
TEXTS = ["red dog on mat", "cats", "A red dog on a mat on a cat"]


def collate(texts=TEXTS, **options):
    samples = [Sample(f"a:{i}", [text], pixels=torch.zeros(3, 4, 4)) for i, text in enumerate(texts)]
    return CaptionCollate(TOKENIZER, **{"masking": dict(prob=0.6, max_masks=18), **options})(samples)


def ids_of(*tokens):
    return TOKENIZER.convert_tokens_to_ids(list(tokens))


def test_a_caption_stands_behind_the_prompt(seed):
    batch = collate()
    assert batch.text_ids[0].tolist()[:9] == ids_of(
        *("[CLS]", "a", "picture", "of", "red", "dog", "on", "mat", "[SEP]")
    )
    assert batch.text_mask[0].sum() == 9
    assert batch.texts == TEXTS


def test_a_long_caption_is_cut_with_its_end_in_place(seed):
    batch = collate(max_tokens=7)
    assert batch.text_ids[2].tolist() == ids_of("[CLS]", "a", "picture", "of", "a", "red", "[SEP]")


def test_chosen_tokens_are_written_twice_at_one_position():
    made = duplicate_masked_tokens([10, 11, 12, 13], [1, 3], mask_id=99)
    assert made.ids == [10, 99, 11, 12, 99, 13]
    assert made.positions == [0, 1, 1, 2, 3, 3]
    assert made.hidden == [False, True, False, False, True, False]
    assert made.masked_indices == [1, 4]


def test_the_published_layout_written_out(seed):
    batch = collate()
    for b in range(3):
        ids, positions = batch.masked_ids[b].tolist(), batch.masked_text_positions[b].tolist()
        text = batch.text_ids[b][batch.text_mask[b]].tolist()
        labels = {
            i: label
            for i, label in zip(batch.mlm_positions[b].tolist(), batch.mlm_labels[b].tolist(), strict=True)
            if label != -100
        }
        length = len(text) + len(labels)
        assert ids[length:] == [PAD] * (len(ids) - length)
        assert [token for i, token in enumerate(ids[:length]) if i not in labels] == text
        for i, label in labels.items():
            assert ids[i] == MASK
            assert ids[i + 1] == label
            assert positions[i] == positions[i + 1]
            assert text[positions[i]] == label
        for row in range(length):
            for column in range(len(ids)):
                sees = column == row or (column < row and column < length and column not in labels)
                assert batch.masked_mask[b, row, column] == sees


def test_the_prompt_is_never_guessed_nor_counted_and_the_end_can_be():
    random.seed(0)
    guessed = set()
    for _ in range(60):
        batch = collate(["red dog on mat"], masking=dict(prob=0.5, max_masks=18, span_prob=0.0))
        positions = batch.masked_text_positions[0, batch.mlm_positions[0]]
        assert len(positions) == 3  # half of the 9 tokens less 3 of the prompt
        guessed |= set(positions.tolist())
    assert guessed == {4, 5, 6, 7, 8}


def test_at_most_max_masks_are_guessed_and_padding_can_be_to_the_maximum(seed):
    batch = collate(masking=dict(prob=1.0, max_masks=4), pad_to_max=True, max_tokens=20)
    assert batch.masked_ids.shape == batch.masked_text_positions.shape == (3, 24)
    assert batch.masked_mask.shape == (3, 24, 24)
    assert batch.mlm_positions.shape == batch.mlm_labels.shape == (3, 4)
    assert batch.text_ids.shape == (3, 20)
    assert (batch.mlm_labels[2] != -100).all()


def test_hidden_in_place_the_mask_is_causal_and_nothing_is_written_twice(seed):
    batch = collate(masked="replace")
    assert batch.masked_ids.shape == batch.text_ids.shape
    expected = causal_mask(batch.text_mask) | torch.eye(batch.text_ids.shape[1], dtype=torch.bool)
    assert torch.equal(batch.masked_mask, expected)
    changed = batch.masked_ids != batch.text_ids
    for b in range(3):
        here = batch.mlm_positions[b][batch.mlm_labels[b] != -100]
        assert set(changed[b].nonzero().flatten().tolist()) <= set(here.tolist())
        assert torch.equal(batch.text_ids[b, here], batch.mlm_labels[b][: len(here)])


def test_a_caption_can_do_without_a_prompt(seed):
    batch = collate(["red dog"], prompt="")
    assert batch.text_ids[0].tolist() == ids_of("[CLS]", "red", "dog", "[SEP]")
    assert prompt_ids(TOKENIZER, "") == []
    assert prompt_ids(TOKENIZER) == ids_of("a", "picture", "of")


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (dict(masked="twise"), "Did you mean 'twice'"),
        (dict(max_tokens=5), "max_tokens is 5; expected 6 or more: the prompt has 3 tokens"),
        (dict(masking=dict(prompt_tokens=2)), "Leave it out: it follows from the prompt"),
        (dict(masking=dict(prop=0.5)), "masking has no option 'prop'"),
    ],
)
def test_what_cannot_work_is_explained(options, sentence):
    with pytest.raises(ConfigError) as error:
        build(TRANSFORMS, dict(type="CaptionCollate", **options), "streams.image.collate", tokenizer=TOKENIZER)
    assert sentence in str(error.value)
