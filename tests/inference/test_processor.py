"""Images and texts are prepared as the evaluations of a config prepare them."""

import pytest

from x2vlm.building import ConfigError, build
from x2vlm.inference.preprocessing import Preprocessing, preprocessing_of_config
from x2vlm.inference.processor import Processor
from x2vlm.registry import TOKENIZERS


class Model:
    vision_encoder, num_frames, preprocessing = None, 0, None


def evaluation(*steps, **collate):
    load = dict(type="LoadImage")
    return dict(dataset=dict(type="ToyWorld", pipeline=[load, *steps]), collate=dict(type="PairCollate", **collate))


def test_settings_are_those_of_the_evaluations_and_the_first_that_has_one_counts():
    first = evaluation(dict(type="PickPhrases", max_words=7), dict(type="Resize", size=16), max_tokens=9)
    second = evaluation(dict(type="PickQuestion", max_words=3), dict(type="Resize", size=(8, 4)), max_tokens=5)
    settings = preprocessing_of_config(dict(evaluations=dict(first=first, second=second)), Model)
    assert settings == Preprocessing((16, 16), max_tokens=9, max_words=7, max_question_words=3)
    assert preprocessing_of_config(dict(evaluations=dict(a=first, b=second)), Model, "b").image_size == (8, 4)
    assert Preprocessing.from_dict(settings.to_dict()) == settings


def test_questions_and_captions_are_cut_each_to_its_own_length():
    tokenizer = build(TOKENIZERS, dict(type="BertVocab", vocab=["a", "b", "c", "d"]))
    processor = Processor(tokenizer, Preprocessing(None, max_words=2, max_question_words=3))
    assert processor.captions(["a b c d"])[0].shape == (1, 4)  # [CLS] and [SEP] with them
    assert processor.questions(["a b c d"])[0].shape == (1, 5)
    assert processor.sentences(["a b c d"])[0].shape == (1, 6)


def test_unknown_settings_are_named():
    with pytest.raises(ConfigError, match=r"preprocessing.*has no setting size. Accepted: image_size"):
        Preprocessing.from_dict(dict(size=3))
