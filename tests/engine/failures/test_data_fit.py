from types import SimpleNamespace

import pytest
from torch import nn

from x2vlm.building import ConfigError
from x2vlm.data.transforms.answers import AnswerLabel
from x2vlm.data.transforms.labels import PickLabel
from x2vlm.engine.failures.data_fit import check_data_fit, most_positions


def model(positions=16, first=0, num_classes=2):
    embeddings = SimpleNamespace(position_embeddings=nn.Embedding(positions, 4))
    encoder = SimpleNamespace(net=SimpleNamespace(embeddings=embeddings), first_position=first)
    made = nn.Module()
    made.objectives = {"classification": SimpleNamespace(num_classes=num_classes), "itc": SimpleNamespace()}
    made.text_encoder = encoder
    return made


def test_texts_without_a_limit_get_the_positions_of_the_encoder():
    collate = SimpleNamespace(max_tokens=None)
    check_data_fit(model(514, first=2), "streams.image", SimpleNamespace(), collate)
    assert collate.max_tokens == 512


def test_a_limit_beyond_the_positions_is_refused_by_name():
    with pytest.raises(ConfigError, match=r"streams\.image\.collate: max_tokens is 40, but the text encoder has 16"):
        check_data_fit(model(), "streams.image", SimpleNamespace(), SimpleNamespace(max_tokens=40))
    check_data_fit(model(), "streams.image", SimpleNamespace(), SimpleNamespace(max_tokens=16))


def test_an_encoder_without_a_table_of_positions_has_no_limit():
    assert most_positions(SimpleNamespace(net=nn.Linear(1, 1))) is None


@pytest.mark.parametrize("step", [PickLabel(["a", "b", "c"]), AnswerLabel({"a": 0, "b": 2})])
def test_more_classes_than_the_objective_counts_are_refused_before_training(step):
    data = SimpleNamespace(pipeline=[step])
    joined = SimpleNamespace(datasets=[SimpleNamespace(pipeline=[]), data])
    for dataset in (data, joined):
        with pytest.raises(
            ConfigError, match=r"classes up to number 2, but model\.objectives\.classification\.num_classes is 2"
        ):
            check_data_fit(model(), "streams.image", dataset, SimpleNamespace())
    check_data_fit(model(num_classes=3), "streams.image", data, SimpleNamespace())
    check_data_fit(model(), "streams.image", data, SimpleNamespace(), ["itc"])


def test_a_folder_of_classes_is_compared_too():
    with pytest.raises(ConfigError, match="Set it to 3"):
        check_data_fit(model(), "streams.image", SimpleNamespace(classes={"a": 0, "b": 2}), SimpleNamespace())


def test_labels_that_are_numbers_get_the_classes_of_the_objective():
    step, inner = PickLabel(), PickLabel()
    joined = SimpleNamespace(pipeline=[step], datasets=[SimpleNamespace(pipeline=[inner, lambda record: record])])
    check_data_fit(model(num_classes=3), "streams.image", joined, SimpleNamespace(), ["itc"])
    assert step.num_classes is None
    check_data_fit(model(num_classes=3), "streams.image", joined, SimpleNamespace())
    assert step.num_classes == inner.num_classes == 3
