import pytest
import torch

from x2vlm.data.batch import Sample
from x2vlm.data.collate.pair_collate import PairCollate
from x2vlm.data.collate.target_tensors import answer_tensors, label_tensors
from x2vlm.data.tokenizer import bert_vocab

TOKENIZER = bert_vocab(["a", "red", "dog", "cat", "##s", "on", "mat", "two"])
CLS, SEP, PAD = TOKENIZER.convert_tokens_to_ids(["[CLS]", "[SEP]", "[PAD]"])


def collate(*samples, **options):
    return PairCollate(TOKENIZER, **{"masking": None, **options})(list(samples))


def image(number=0, *texts, count=1, **fields):
    shape = (3, 2, 2) if count == 1 else (count, 3, 2, 2)
    pixels = number + 0.1 * torch.arange(count).view(-1, 1, 1, 1).expand(count, 3, 2, 2).reshape(shape)
    return Sample(f"a:{number}", list(texts), pixels, ids=["same"] * max(len(texts), 1), num_contexts=count, **fields)


def pairs_of(batch):
    """What every pair is: the image and the number of the text."""
    owner = range(len(batch.owner)) if batch.text_owner is None else batch.text_owner.tolist()
    return [*zip([round(entry, 1) for entry in batch.pixels[batch.owner, 0, 0, 0].tolist()], owner, strict=True)]


def test_classes_are_whole_numbers_and_numbers_to_predict_are_floats():
    assert label_tensors([]) == {}
    classes, numbers = label_tensors([1, -100, 0])["labels"], label_tensors([0.5, 3])["labels"]
    assert (classes.tolist(), classes.dtype) == ([1, -100, 0], torch.long)
    assert (numbers.tolist(), numbers.dtype) == ([0.5, 3], torch.float32)


def test_several_classes_of_a_text_stand_as_weights_and_a_text_without_class_weighs_nothing():
    rows = label_tensors([{0: 0.25, 2: 0.5}, 1, -100, {}], num_classes=3)
    assert list(rows) == ["label_weights"]
    assert rows["label_weights"].tolist() == [[0.25, 0, 0.5], [0, 1, 0], [0, 0, 0], [0, 0, 0]]


@pytest.mark.parametrize(
    ("classes", "reason"), [(None, "needs num_classes"), (2, "class 2 is not below num_classes=2")]
)
def test_weights_need_to_know_how_many_classes_there_are(classes, reason):
    with pytest.raises(ValueError, match=reason):
        label_tensors([{2: 1.0}], classes)


def test_answers_stand_one_after_the_other_with_their_owner_and_weight():
    answers = [[("red", 0.7), ("a red dog", 0.3)], [], [("cats", 0.5)]]
    batch = collate(*[image(n, "a dog", answers=[listed]) for n, listed in enumerate(answers)])
    a, red, dog, cat, s = TOKENIZER.convert_tokens_to_ids(["a", "red", "dog", "cat", "##s"])
    expected = [[CLS, red, SEP, PAD, PAD], [CLS, a, red, dog, SEP], [CLS, cat, s, SEP, PAD]]
    assert batch.answer_ids.tolist() == expected
    assert batch.answer_mask.tolist() == [[token != PAD for token in row] for row in expected]
    assert batch.answer_owner.tolist() == [0, 0, 2]
    torch.testing.assert_close(batch.answer_weights, torch.tensor([0.7, 0.3, 0.5]))


def test_answers_are_cut_only_where_requested():
    sample = image(0, "a dog", answers=[[("a red dog on a mat", 1.0)]])
    assert collate(sample).answer_ids.shape == (1, 8)
    assert collate(sample, max_answer_tokens=4).answer_ids[0, -1] == SEP
    assert collate(sample, max_answer_tokens=4).answer_ids.shape == (1, 4)


def test_no_answers_give_no_tensors():
    assert answer_tensors([], list, 0) == {}
    assert collate(image(0, "a dog")).answer_ids is None


def test_labels_and_answers_go_with_their_text_when_some_texts_are_left_out(seed):
    texts = ["a", "red", "dog", "cat", "mat"]
    sample = image(0, *texts, labels=[0, 1, 2, 3, 4], answers=[[(text, 1.0)] for text in texts])
    batch = collate(sample, batch_size=3)
    assert len(batch.labels) == 3
    assert [texts[label] for label in batch.labels.tolist()] == batch.texts
    decoded = [TOKENIZER.decode(ids, skip_special_tokens=True) for ids in batch.answer_ids]
    assert decoded == batch.texts


def test_some_texts_with_and_some_without_labels_are_refused():
    with pytest.raises(ValueError, match="a:1 has 0 labels for 1 texts"):
        collate(image(0, "a dog", labels=[1]), image(1, "a dog"))


def test_a_text_reads_its_images_together_and_in_order():
    batch = collate(image(1, "a dog", count=2, labels=[1]), image(2, "cats", count=2, labels=[0]))
    assert pairs_of(batch) == [(1.0, 0), (1.1, 0), (2.0, 1), (2.1, 1)]
    assert batch.text_owner.tolist() == [0, 0, 1, 1] and batch.owner.tolist() == [0, 1, 2, 3]
    assert len(batch) == 2 and batch.text_ids.shape[0] == len(batch.ids) == len(batch.labels) == len(batch.where) == 2
    assert batch.boxes_xyxy is None and batch.has_box is None


def test_two_texts_about_two_images_are_four_pairs():
    batch = collate(image(1, "a dog", "cats", count=2), image(2, "mat", "red", count=2))
    assert pairs_of(batch) == [(1.0, 0), (1.1, 0), (1.0, 1), (1.1, 1), (2.0, 2), (2.1, 2), (2.0, 3), (2.1, 3)]
    assert batch.pixels.shape == (4, 3, 2, 2)


def test_one_image_a_text_needs_no_list_of_texts():
    assert collate(image(1, "a dog"), image(2, "cats")).text_owner is None


def test_images_without_texts_are_pairs_of_their_own():
    batch = collate(image(1, labels=[3]), image(2, labels=[4]), image(5, labels=[0]))
    assert batch.text_ids is None and batch.text_mask is None and batch.texts == []
    assert len(batch) == 3 and batch.owner.tolist() == [0, 1, 2] and batch.labels.tolist() == [3, 4, 0]
    assert batch.where == ["a:1", "a:2", "a:5"] and len(batch.ids) == 3


def test_images_without_texts_can_be_fewer_than_there_are(seed):
    batch = collate(*[image(n, labels=[n]) for n in range(5)], batch_size=2)
    assert batch.pixels[:, 0, 0, 0].tolist() == batch.labels.tolist() and len(batch) == 2


def test_images_with_and_without_texts_do_not_share_a_batch():
    with pytest.raises(ValueError, match="with and without texts in one batch: a:1 has some, a:2 has not"):
        collate(image(1, "a dog"), image(2))


def test_a_text_with_one_image_of_two_is_a_bad_record_of_its_batch():
    batch = collate(image(1, "a dog", count=2), image(2, "a dog"), image(3, "cats", count=2))
    assert batch.where == ["a:1", "a:3"] and batch.pixels.shape[0] == 4
    assert [(bad.where, bad.reason[:20]) for bad in batch.bad] == [("a:2", "its text has 1 image")]
    assert batch.drawn == 3


@pytest.mark.parametrize("count", [1, 2])
def test_masked_patches_have_a_row_for_each_image(count):
    rows = torch.rand(3, count, 4) < 0.5
    samples = [image(n, "a dog", count=count, masked_patches=row.squeeze(0)) for n, row in enumerate(rows)]
    assert torch.equal(collate(*samples).masked_patches, rows.flatten(0, 1))


def test_two_sentences_stand_as_the_tokenizers_model_reads_pairs():
    batch = collate(Sample("t:1", [("a dog", "cats")]), Sample("t:2", [("a red dog on a mat", "mat")]), max_tokens=7)
    a, red, dog, cat, s, mat = TOKENIZER.convert_tokens_to_ids(["a", "red", "dog", "cat", "##s", "mat"])
    assert batch.text_ids[0].tolist() == [CLS, a, dog, SEP, cat, s, SEP]
    assert batch.text_ids[1].tolist() == [CLS, a, red, dog, SEP, mat, SEP]  # the longer one was cut
    assert batch.texts == ["a dog | cats", "a red dog on a mat | mat"]


def test_texts_are_not_cut_where_no_limit_is_given():
    long = " ".join(["dog"] * 60)
    assert collate(image(0, long), max_tokens=None).text_ids.shape == (1, 62)
    with pytest.raises(ValueError, match="pad_to_max=True needs max_tokens"):
        PairCollate(TOKENIZER, max_tokens=None, pad_to_max=True)
