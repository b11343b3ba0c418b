"""The numbers of multiple choice, by NExT-QA's kinds of questions."""

from x2vlm.evaluation.tasks.multiple_choice_accuracy import accuracies


def test_questions_are_counted_by_kind_and_beside_the_commonest_number():
    judged = [(0, 0, "causal"), (1, 0, "causal"), (2, 2, "temporal"), (0, 0, "descriptive")]
    assert accuracies(judged) == {
        "accuracy": 75.0,
        "accuracy_causal": 50.0,
        "accuracy_descriptive": 100.0,
        "accuracy_temporal": 100.0,
        "majority_accuracy": 75.0,
    }
