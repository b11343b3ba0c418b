"""Choosing one of several answers."""

from types import SimpleNamespace

import pytest
import torch

from x2vlm.data.batch import Batch
from x2vlm.models.outputs import EncodedBatch
from x2vlm.objectives.multiple_choice import MultipleChoice, chosen


def batch(labels):
    count = len(labels)
    mask = torch.ones(count, 2, dtype=torch.bool)
    return EncodedBatch(Batch(torch.zeros(count, 2, dtype=torch.long), mask, labels=torch.tensor(labels)))


def fused(*rows):
    return [SimpleNamespace(states=torch.tensor(rows))]


class First(torch.nn.Module):
    """Scores a state by its own numbers."""

    def __init__(self, outputs):
        super().__init__()
        self.outputs = outputs

    def forward(self, states):
        return states[:, : self.outputs]


def test_ranking_is_cross_entropy_over_the_answers_of_a_question():
    objective = MultipleChoice(width=4, choices=2)
    objective.head = First(1)
    loss = objective.losses(batch([0, 1, 1, 0]), fused([1.0], [3.0], [0.0], [0.0]))["loss_multiple_choice"]
    wanted = -(torch.tensor([1.0, 3.0]).log_softmax(0)[1] + torch.tensor(0.5).log()) / 2
    torch.testing.assert_close(loss, wanted)


def test_matching_asks_of_every_answer_whether_it_is_right():
    objective = MultipleChoice(width=4, choices=2, scoring="match")
    objective.head = First(2)
    states = [[0.0, 2.0], [1.0, 0.0]]
    loss = objective.losses(batch([1, 0]), fused(*states))["loss_multiple_choice"]
    torch.testing.assert_close(loss, torch.nn.functional.cross_entropy(torch.tensor(states), torch.tensor([1, 0])))
    assert chosen(objective.scores(fused(*states))).tolist() == [0]


def test_texts_that_are_not_whole_questions_are_refused():
    with pytest.raises(ValueError, match="3 texts, which are not 2 answers for each question"):
        MultipleChoice(width=4, choices=2).questions(torch.zeros(3))


def test_scores_that_are_no_numbers_choose_nothing():
    with pytest.raises(ValueError, match="not a number"):
        chosen(torch.tensor([[float("nan"), 0.0]]))


def test_an_unknown_scoring_is_told():
    with pytest.raises(ValueError, match=r"scoring is 'ranks'.*Did you mean 'rank'"):
        MultipleChoice(width=4, scoring="ranks")
