"""Multiple choice: how often is the answer that was chosen the right one?"""

from collections.abc import Iterable, Mapping
from typing import Any

from mmengine.logging import print_log

from x2vlm.data.batch import Batch
from x2vlm.distributed import all_gather_objects
from x2vlm.evaluation.record_fields import extras_of_texts
from x2vlm.models.eval_mode import eval_mode
from x2vlm.objectives.multiple_choice import chosen
from x2vlm.registry import METRICS

NEXT_QA = {"C": "causal", "T": "temporal", "D": "descriptive"}
"""First letters of NExT-QA's types of questions (CW, CH, TN, TC, TP, DC, DL, DO) and what they stand for."""


@METRICS.register_module()
class MultipleChoiceMetric:
    """Accuracy in percent, of all questions and of each kind, beside that of chance and of the commonest number.

    Args:
        objective: Name of the objective that chooses.
        by: A key of ``extras`` with the type of a question.
        groups: From the first letter of a type to the name of its group; types of no group are counted by themselves.
    """

    def __init__(
        self, objective: str = "multiple_choice", by: str | None = "type", groups: Mapping[str, str] | None = None
    ) -> None:
        self.objective, self.by = objective, by
        self.groups = dict(NEXT_QA if groups is None else groups)

    def evaluate(self, model: Any, loader: Iterable[Batch]) -> dict[str, float]:
        """Choose an answer for everything that the loaders of all processes yield, each its own share.

        Returns:
            Percentages: ``accuracy``, ``accuracy_causal`` and so on; ``chance_accuracy`` of a blind guess and
            ``majority_accuracy`` of always taking the number that is right most often.

        Raises:
            ValueError: If the model has no such objective, or there is nothing to choose.
        """
        if self.objective not in model.objectives:
            raise ValueError(
                f"MultipleChoiceMetric needs objective '{self.objective}', but this model's objectives are: "
                f"{', '.join(model.objectives) or 'none'}. Add it, or leave this evaluation out."
            )
        objective, sizes = model.objectives[self.objective], set()
        found: list[tuple[int, int, str | None]] = []
        with eval_mode(model):
            for batch in loader:
                if len(batch):
                    sizes.add(tuple(batch.pixels.shape[-2:]))
                    found += self._choose(model, objective, batch)
        everything = [one for process in all_gather_objects(found) for one in process]
        if not everything:
            raise ValueError("there is nothing to choose: the loader yielded no questions.")
        results = accuracies(everything)
        results["chance_accuracy"] = 100 / objective.choices
        self._log(results, len(everything), objective.scoring, sizes)
        return results

    def _choose(self, model: Any, objective: Any, batch: Batch) -> list[tuple[int, int, str | None]]:
        """For each question the number that was chosen, the right one, and its group."""
        encoded = model.encode(batch.to(model.device))
        picked = chosen(objective.scores(model.read(objective.requests(encoded))).float().cpu()).tolist()
        right = objective.questions(batch.labels.cpu()).argmax(dim=1).tolist()
        types = [None] * len(batch) if self.by is None else extras_of_texts(batch, self.by)
        kinds = [None if one is None else self.groups.get(str(one)[:1], str(one)) for one in types]
        return list(zip(picked, right, kinds[:: objective.choices], strict=True))

    def _log(self, results: dict[str, float], questions: int, scoring: str, sizes: set[tuple[int, int]]) -> None:
        numbers = ", ".join(f"{name} {value:.2f}" for name, value in results.items())
        shown = ", ".join(f"{height}x{width}" for height, width in sorted(sizes))
        print_log(
            f"multiple choice, {questions} questions, scored by {scoring!r} at {shown} pixels: {numbers} %.",
            logger="current",
        )


def accuracies(judged: Iterable[tuple[int, int, str | None]]) -> dict[str, float]:
    """Percentages of (chosen, right, group): ``accuracy``, by group, and of the number that is right most often."""
    judged = list(judged)
    rights = [right for _, right, _ in judged]
    results = {"accuracy": _percent([picked == right for picked, right, _ in judged])}
    for group in sorted({group for *_, group in judged if group is not None}):
        results[f"accuracy_{group}"] = _percent([picked == right for picked, right, own in judged if own == group])
    commonest = max(sorted(set(rights)), key=rights.count)
    results["majority_accuracy"] = _percent([right == commonest for right in rights])
    return results


def _percent(values: list[bool]) -> float:
    return 100 * sum(values) / len(values)
