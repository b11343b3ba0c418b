import random

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from x2vlm.building import ConfigError, build
from x2vlm.data.batch import Sample
from x2vlm.data.collate.pair_collate import PairCollate, padded, stable_hash
from x2vlm.data.collate.token_masking import Masking
from x2vlm.data.tokenizer import bert_vocab
from x2vlm.registry import TRANSFORMS

TOKENIZER = bert_vocab(["a", "red", "dog", "cat", "##s", "on", "mat"])
CLS, SEP, PAD, MASK = TOKENIZER.convert_tokens_to_ids(["[CLS]", "[SEP]", "[PAD]", "[MASK]"])
TEXTS = ["a dog", "red cats", "a red dog on a mat", "mat", "cats on a red mat"]


def collate(**options):
    return PairCollate(TOKENIZER, **{"masking": None, **options})


def image(number, *texts, boxes=None, **fields):
    texts = list(texts) or [TEXTS[number % 5]]
    whole = torch.tensor([[0.0, 0, 1, 1]]).repeat(len(texts), 1)
    return Sample(
        where=f"train.jsonl:{number}",
        texts=texts,
        pixels=torch.full((3, 4, 4), float(number)),
        boxes_xyxy=whole if boxes is None else torch.tensor(boxes, dtype=torch.float32),
        has_box=torch.full((len(texts),), boxes is not None),
        **{"ids": [f"image{number}"] * len(texts), "extras": {"number": number}, **fields},
    )


def regions(number, count):
    boxes = [[0.1 * r, 0.0, 1.0, 0.1 * (number + 1)] for r in range(count)]
    return image(number, *[TEXTS[(number + r) % 5] for r in range(count)], boxes=boxes)


def pairs(batch):
    """What each pair is: image, text, box."""
    images = batch.pixels[:, 0, 0, 0][batch.owner].tolist()
    return [*zip(images, batch.texts, map(tuple, batch.boxes_xyxy.tolist()), strict=True)]


def test_texts_are_padded_to_the_longest_of_the_batch():
    batch = collate()([image(0, "a dog"), image(1, "cats")])
    a, dog, cat, s = TOKENIZER.convert_tokens_to_ids(["a", "dog", "cat", "##s"])
    assert batch.text_ids.tolist() == [[CLS, a, dog, SEP], [CLS, cat, s, SEP]]
    batch = collate()([image(0, "a dog"), image(1, "dog")])
    assert batch.text_ids.tolist() == [[CLS, a, dog, SEP], [CLS, dog, SEP, PAD]]
    assert batch.text_mask.tolist() == [[True] * 4, [True, True, True, False]]
    assert batch.text_mask.dtype == torch.bool and batch.text_ids.dtype == torch.long


def test_long_texts_are_cut_with_both_ends_in_place():
    batch = collate(max_tokens=4)([image(0, "a red dog on a mat")])
    assert batch.text_ids.tolist() == [[CLS, *TOKENIZER.convert_tokens_to_ids(["a", "red"]), SEP]]


def test_the_published_padding_is_to_the_maximum():
    batch = collate(pad_to_max=True, max_tokens=9, masking=dict(max_masks=6))([image(0), image(1)])
    assert batch.text_ids.shape == batch.text_mask.shape == batch.masked_ids.shape == (2, 9)
    assert batch.mlm_positions.shape == batch.mlm_labels.shape == (2, 6)


def test_pairs_share_the_image_they_look_at():
    batch = collate()([regions(0, 2), image(1), regions(2, 3)])
    assert batch.pixels[:, 0, 0, 0].tolist() == [0, 1, 2]
    assert batch.owner.tolist() == [0, 0, 1, 2, 2, 2]
    assert batch.has_box.tolist() == [True, True, False, True, True, True]
    assert [entry["number"] for entry in batch.extras] == [0, 1, 2]
    assert batch.where == [f"train.jsonl:{n}" for n in (0, 0, 1, 2, 2, 2)]
    torch.testing.assert_close(batch.boxes_xyxy[5], torch.tensor([0.2, 0, 1, 0.3]))


def test_exactly_batch_size_pairs_are_kept_and_each_has_its_turn(seed):
    samples = [regions(n, 3) for n in range(4)]
    everything = set(pairs(collate()(samples)))
    met = set()
    for _ in range(60):
        batch = collate(batch_size=5)(samples)
        assert len(batch) == 5 == len(set(pairs(batch)))
        met |= set(pairs(batch))
    assert met == everything


def test_images_of_which_no_pair_is_kept_are_left_out(seed):
    for _ in range(20):
        batch = collate(batch_size=2)([regions(n, 1) for n in range(6)])
        assert len(batch.pixels) == len(batch.extras) == 2
        assert batch.owner.tolist() == [0, 1]
        assert [f"train.jsonl:{entry['number']}" for entry in batch.extras] == batch.where
        assert batch.drawn == 6


def test_too_few_pairs_make_a_smaller_batch():
    assert len(collate(batch_size=9)([regions(0, 2), regions(1, 2)])) == 4


@pytest.mark.parametrize(("batch_size", "most"), [(6, 2), (8, 2), (9, 3), (14, 4)])
def test_the_published_filling_copies_pairs(batch_size, most, seed):
    batch = collate(batch_size=batch_size, fill="copy")([regions(0, 2), regions(1, 2)])
    copies = [pairs(batch).count(pair) for pair in set(pairs(batch))]
    assert (len(batch), len(copies), max(copies)) == (batch_size, 4, most)
    assert batch.pixels.shape[0] == 2


def test_the_copied_pairs_are_random(seed):
    samples = [regions(0, 2), regions(1, 2)]
    copied = {tuple(pairs(collate(batch_size=5, fill="copy")(samples))[4]) for _ in range(40)}
    assert copied == set(pairs(collate()(samples)))


@given(order=st.permutations(range(5)))
def test_the_order_of_samples_does_not_matter(order):
    samples = [regions(n, n % 3 + 1) for n in range(5)]
    batch, shuffled = collate()(samples), collate()([samples[n] for n in order])
    assert sorted(pairs(batch)) == sorted(pairs(shuffled))
    expected = dict(zip(pairs(batch), batch.text_ids.tolist(), strict=True))
    assert {pair: ids for pair, ids in zip(pairs(shuffled), shuffled.text_ids.tolist(), strict=True)} == expected
    assert dict(zip(pairs(batch), batch.ids.tolist(), strict=True)) == dict(
        zip(pairs(shuffled), shuffled.ids.tolist(), strict=True)
    )
    assert [entry["number"] for entry in shuffled.extras] == list(order)


def test_clips_are_stacked_whole():
    clip = Sample("w", ["dog"], torch.zeros(3, 3, 4, 4), torch.zeros(1, 4), torch.tensor([False]), ["v"])
    assert collate()([clip, clip]).pixels.shape == (2, 3, 3, 4, 4)


def test_plain_text_has_no_context():
    batch = collate(masking=Masking())([Sample("a", ["a dog"], ids=["a"]), Sample("b", ["mat"], ids=["b"])])
    for name in ("pixels", "owner", "boxes_xyxy", "has_box", "context_ids", "context_text_mask", "patch_mask"):
        assert getattr(batch, name) is None
    assert batch.masked_ids.shape == (2, 4) and len(batch.extras) == 2


def test_parallel_text_has_the_other_sentence_for_context():
    samples = [
        Sample("a", ["a dog"], ids=["a"], context_text="red cats on a mat"),
        Sample("b", ["mat"], context_text="a"),
    ]
    batch = collate(max_tokens=6)(samples)
    assert batch.owner.tolist() == [0, 1]
    red, cat, s, on = TOKENIZER.convert_tokens_to_ids(["red", "cat", "##s", "on"])
    assert batch.context_ids.tolist()[0] == [CLS, red, cat, s, on, SEP]
    assert batch.context_text_mask.tolist() == [[True] * 6, [True] * 3 + [False] * 3]
    assert batch.text_ids.shape == (2, 4) and batch.pixels is None and batch.boxes_xyxy is None
    assert collate(max_tokens=8, pad_to_max=True)(samples).context_ids.shape == (2, 8)


def test_masking_leaves_cls_and_padding_alone_and_marks_what_it_changed(seed):
    batch = collate(masking=dict(prob=0.5, max_masks=3))([image(n, text) for n, text in enumerate(TEXTS * 8)])
    lengths = batch.text_mask.sum(1)
    real = batch.mlm_labels != -100
    assert real.sum(1).tolist() == [min(3, max(1, round(length * 0.5))) for length in lengths.tolist()]
    assert batch.mlm_positions.shape == (40, 3) and (batch.mlm_positions[~real] == 0).all()
    assert (batch.mlm_positions[real] > 0).all()
    assert (batch.mlm_positions < lengths[:, None])[real].all()
    assert torch.equal(batch.text_ids.gather(1, batch.mlm_positions)[real], batch.mlm_labels[real])
    changed = batch.masked_ids != batch.text_ids
    may_change = torch.zeros_like(changed).scatter_(1, batch.mlm_positions, True)
    assert not (changed & ~may_change).any() and changed.any()
    assert (batch.masked_ids[:, 0] == CLS).all() and (batch.masked_ids[~batch.text_mask] == PAD).all()
    assert MASK in batch.masked_ids and MASK not in batch.text_ids


def test_the_masks_follow_the_global_generator():
    masked = []
    for number in (1, 1, 2):
        random.seed(number)
        masked.append(collate(masking=dict())([image(n) for n in range(5)]).masked_ids)
    assert torch.equal(masked[0], masked[1]) and not torch.equal(masked[0], masked[2])


def test_without_masking_there_is_nothing_masked():
    batch = collate()([image(0)])
    assert batch.masked_ids is batch.mlm_positions is batch.mlm_labels is None


def test_the_published_masking_is_the_default():
    assert PairCollate(TOKENIZER).masker.masking == Masking(0.5, 12, True, 0.2, 3)
    assert PairCollate(TOKENIZER).max_tokens == 40


def test_equal_identities_get_equal_numbers_and_unknown_ones_are_all_different():
    expected = collate()([image(0, "a", "dog"), image(1), image(2, ids=["image1"])])
    assert expected.ids[0] == expected.ids[1] and expected.ids[2] == expected.ids[3] != expected.ids[0]
    unknown = collate()([image(0, "a", "dog", ids=[]), image(0, ids=[])])
    assert len(set(unknown.ids.tolist())) == 3


def test_identities_are_the_same_numbers_in_every_process():
    assert stable_hash("image1") == 949600532364593881  # Python's own hash differs from process to process


@given(st.text(alphabet=st.characters(exclude_categories=())))  # lone surrogates too
def test_identities_fit_into_64_bits(name):
    assert 0 <= stable_hash(name) < 2**63


def test_no_sample_gives_an_empty_batch():
    batch = PairCollate(TOKENIZER)([])
    assert len(batch) == 0 and batch.text_mask.dtype == torch.bool


def test_rows_are_filled_up():
    assert padded([[1, 2], [3]], 7).tolist() == [[1, 2], [3, 7]]
    assert padded([[1]], 7, length=3).tolist() == [[1, 7, 7]]
    assert padded([], 7).shape == (0, 0)


def test_images_of_several_sizes_are_refused():
    larger = image(1)
    larger.pixels = torch.zeros(3, 8, 8)
    with pytest.raises(ValueError, match=r"several sizes in a batch: \[\(3, 4, 4\), \(3, 8, 8\)\]. Resize them alike"):
        collate()([image(0), larger])


def test_records_of_several_kinds_are_refused():
    with pytest.raises(
        ValueError, match=r"with and without pixels in one batch: train\.jsonl:0 has it, t\.txt:3 has not"
    ):
        collate()([image(0), Sample("t.txt:3", ["dog"])])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (dict(max_tokens=2), "max_tokens is 2"),
        (dict(batch_size=0), "batch_size is 0"),
        (dict(fill="copies"), "fill is 'copies'. Did you mean 'copy'"),
        (dict(masking=dict(probs=0.4)), "masking has no option 'probs'. Did you mean 'prob'"),
    ],
)
def test_an_option_without_meaning_is_named(options, message):
    with pytest.raises(ConfigError, match=message):
        build(TRANSFORMS, dict(type="PairCollate", **options), tokenizer=TOKENIZER)


def test_a_tokenizer_without_ends_is_refused():
    bare = bert_vocab(["dog"])
    bare.sep_token = None
    with pytest.raises(ValueError, match="has no sep token"):
        PairCollate(bare)


def test_other_tokenizers_put_their_own_ends():
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    words = ["<s>", "<pad>", "</s>", "<unk>", "<mask>", "▁dog", "s", "▁mat"]
    tokenizer = Tokenizer(models.Unigram([(word, -1.0) for word in words], unk_id=3))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    names = dict(cls_token="<s>", sep_token="</s>", pad_token="<pad>", mask_token="<mask>", unk_token="<unk>")
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=tokenizer, **names)
    batch = PairCollate(tokenizer, masking=dict(prob=0.5, span_prob=0))([image(0, "dogs mat"), image(1, "mat")])
    assert batch.text_ids.tolist() == [[0, 5, 6, 7, 2], [0, 7, 2, 1, 1]]
    assert batch.text_mask.tolist() == [[True] * 5, [True] * 3 + [False] * 2]


def test_of_parallel_texts_the_context_is_masked(seed):
    samples = [Sample("a", ["a dog"], context_text="red cats on a mat"), Sample("b", ["mat"], context_text="a")]
    batch = collate(max_tokens=8, masking=dict(prob=0.5, max_masks=3))(samples)
    assert batch.masked_ids.shape == batch.context_ids.shape
    guessed = batch.mlm_labels != -100
    assert torch.equal(batch.context_ids.gather(1, batch.mlm_positions)[guessed], batch.mlm_labels[guessed])
    kept = torch.ones_like(batch.context_ids, dtype=torch.bool)
    for row in range(2):
        kept[row, batch.mlm_positions[row][guessed[row]]] = False
    assert torch.equal(batch.masked_ids[kept], batch.context_ids[kept])
    padded_batch = collate(max_tokens=9, pad_to_max=True, masking=dict(max_masks=3))(samples)
    assert padded_batch.masked_ids.shape == padded_batch.context_ids.shape == (2, 9)
    assert padded_batch.mlm_positions.shape == (2, 3)
