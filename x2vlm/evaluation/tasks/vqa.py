"""Visual question answering: accuracy of ranked or generated answers."""

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from os import PathLike
from typing import TYPE_CHECKING, Any

from mmengine.logging import print_log

from x2vlm.building import suggestion
from x2vlm.data.batch import Batch
from x2vlm.data.collate.padding import padded_tokens
from x2vlm.data.tokenizer import tokenize
from x2vlm.data.transforms.class_names import read_classes
from x2vlm.distributed import all_gather_lists, rank
from x2vlm.evaluation.metrics.exact_match import exact_match, most_frequent
from x2vlm.evaluation.metrics.percentages import percent, percent_by_group
from x2vlm.evaluation.metrics.vqa_accuracy import normalized_answer, on_one_line, vqa_accuracy
from x2vlm.evaluation.record_fields import extras_of_texts
from x2vlm.evaluation.required_objective import require_objective
from x2vlm.evaluation.saved_predictions import output_path, write_output
from x2vlm.models.eval_mode import eval_mode
from x2vlm.models.generation.rank_answers import FIRST_TOKENS
from x2vlm.registry import METRICS

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

MODES = ("rank", "write")


@dataclass(frozen=True)
class AnsweredQuestion:
    """A question with the model's answer.

    Attributes:
        where: The record.
        question_id: ``extras["question_id"]`` of the record, or None.
        answer: The model's answer.
        annotations: The answers of the annotators; None without any.
        groups: The value of each key of ``by``, None where unknown.
    """

    where: str
    question_id: Any
    answer: str
    annotations: tuple[str, ...] | None
    groups: tuple[Any, ...]


@METRICS.register_module()
class VQAMetric:
    """Accuracy of answers in percent: that of the VQA challenge, or exact match for questions with one annotation.

    Records hold the annotators' answers in ``extras["answers"]`` (:class:`~x2vlm.data.transforms.answers.PickAnswers`
    puts them there). A test set without annotations is only answered: give ``save_to``, and submit that file.

    Args:
        tokenizer: The tokenizer of the answers.
        answer_list: Candidates to rank: strings, or a file (``.json`` with a list, or one a line). Published: 3,128.
        mode: ``rank`` selects from ``answer_list``, as published; ``write`` generates freely.
        k: Candidates of the second stage of ranking (see :func:`~x2vlm.models.generation.rank_answers.rank_answers`).
        first_token: ``once``, or ``twice`` as published.
        num_beams: Beams of ``write``; 1 is greedy.
        max_tokens: Largest number of tokens of a generated answer, [SEP] included.
        by: Keys of ``extras``; each value of a key gets an accuracy of its own.
        save_to: File for the answers, as the challenge's server takes it: a list of ``question_id`` and ``answer``.
            Relative to the run's work folder; each evaluation overwrites it.
        objective: Name of the objective that answers.
        chunk: Answers that are scored at once.
        work_dir: The run's work folder.

    Raises:
        ValueError: If an option is invalid.
        FileNotFoundError: If there is no such list of answers.
    """

    paths_or_names = ("answer_list",)

    def __init__(
        self,
        tokenizer: "PreTrainedTokenizerBase",
        answer_list: Sequence[str] | str | PathLike | None = None,
        mode: str = "rank",
        k: int = 128,
        first_token: str = "once",
        num_beams: int = 1,
        max_tokens: int = 10,
        by: Sequence[str] = ("answer_type",),
        save_to: str | PathLike | None = None,
        objective: str = "answer",
        chunk: int = 256,
        work_dir: str | PathLike | None = None,
    ) -> None:
        for name, value, accepted in (("mode", mode, MODES), ("first_token", first_token, FIRST_TOKENS)):
            if value not in accepted:
                near = suggestion(str(value), accepted)
                raise ValueError(f"{name} is {value!r}.{near} Accepted: {', '.join(accepted)}.")
        if (mode == "rank") == (answer_list is None):
            raise ValueError(
                "mode='rank' selects from answer_list: give a file or a list of strings. mode='write' takes none."
            )
        if min(k, num_beams, max_tokens, chunk) < 1:
            raise ValueError(f"k={k}, num_beams={num_beams}, max_tokens={max_tokens}, chunk={chunk}: counts from 1.")
        if tokenizer is None:
            raise ValueError("answers are decoded by a tokenizer: the config needs a tokenizer.")
        self.tokenizer, self.mode, self.objective = tokenizer, mode, objective
        self.candidates: list[str] = []
        if answer_list is not None:
            numbers = read_classes(answer_list, "VQAMetric.answer_list")
            self.candidates = sorted(numbers, key=numbers.get)
        self.k, self.first_token, self.chunk = k, first_token, chunk
        self.num_beams, self.max_tokens, self.by = num_beams, max_tokens, tuple(by)
        self.save_to = output_path(save_to, work_dir)

    def called_methods(self, objectives: Iterable[str]) -> dict[str, tuple[str, ...]]:
        """What an evaluation calls of the model's objectives, by their names."""
        return {self.objective: ("rank" if self.mode == "rank" else "write",)}

    def evaluate(self, model: Any, loader: Iterable[Batch]) -> dict[str, float]:
        """Answer everything that the loaders of all processes yield, each its own share.

        Returns:
            Percentages: ``vqa_accuracy`` of the questions with several annotations, ``exact_match`` of those with one;
            ``vqa_accuracy_number`` and so on for each value of ``by``; ``majority_vqa_accuracy`` and
            ``majority_exact_match`` of always predicting the most frequent answer. Nothing without annotations.

        Raises:
            ValueError: If the model has no such objective, there is no question, there are no annotations and answers
                are not to be saved, or they are to be saved and a question has no ``question_id``.
        """
        require_objective(model, self.objective, "VQAMetric")
        with eval_mode(model):
            candidates = self._candidates(model)
            local = [question for batch in loader if len(batch) for question in self._answer(model, batch, candidates)]
        questions = all_gather_lists(local)
        if not questions:
            raise ValueError("there is nothing to answer: the loader yielded no questions.")
        if self.save_to is not None:
            self._save(questions)
        annotated = [question for question in questions if question.annotations]
        if not annotated and self.save_to is None:
            raise ValueError(
                "no question of this evaluation has a known answer in extras['answers']. Put PickAnswers into the "
                "pipeline, or give save_to to save the answers."
            )
        several = [question for question in annotated if len(question.annotations) > 1]
        single = [question for question in annotated if len(question.annotations) == 1]
        results = self._metrics("vqa_accuracy", several, vqa_accuracy)
        results |= self._metrics("exact_match", single, normalized_match)
        self._log(results, questions, annotated)
        return results

    def _candidates(self, model: Any) -> tuple[Any, Any]:
        tokens = tokenize(self.tokenizer, self.candidates, None) if self.candidates else []
        return tuple(tensor.to(model.device) for tensor in padded_tokens(tokens, self.tokenizer.pad_token_id))

    def _answer(self, model: Any, batch: Batch, candidates: tuple[Any, Any]) -> list[AnsweredQuestion]:
        objective, encoded = model.objectives[self.objective], model.encode(batch.to(model.device))
        states = model.read(objective.requests(encoded))
        if self.mode == "rank":
            ranked = objective.rank(states, *candidates, k=self.k, first_token=self.first_token, chunk=self.chunk)
            answers = [self.candidates[candidate] for candidate in ranked.ids[:, 0].tolist()]
        else:
            ends = self.tokenizer.cls_token_id, self.tokenizer.sep_token_id
            generated = objective.write(states, *ends, num_beams=self.num_beams, max_tokens=self.max_tokens)
            answers = self.tokenizer.batch_decode(generated.ids[:, 0], skip_special_tokens=True)
        annotations, question_ids = extras_of_texts(batch, "answers"), extras_of_texts(batch, "question_id")
        annotations = [(texts,) if isinstance(texts, str) else texts for texts in annotations]
        annotations = [None if texts is None else tuple(texts) for texts in annotations]
        groups = zip(*(extras_of_texts(batch, key) for key in self.by), strict=True) if self.by else [()] * len(answers)
        where = batch.where or [""] * len(answers)
        return list(map(AnsweredQuestion, where, question_ids, answers, annotations, map(tuple, groups)))

    def _metrics(
        self, name: str, questions: Sequence[AnsweredQuestion], accuracy: Callable[[str, Sequence[str]], float]
    ) -> dict[str, float]:
        if not questions:
            return {}
        accuracies = [accuracy(question.answer, question.annotations) for question in questions]
        majority = most_frequent(on_one_line(text) for question in questions for text in question.annotations)
        baseline = [accuracy(majority, question.annotations) for question in questions]
        results = {name: percent(accuracies), f"majority_{name}": percent(baseline)}
        for i in range(len(self.by)):
            by_group = percent_by_group(accuracies, [question.groups[i] for question in questions])
            results |= {f"{name}_{str(group).replace(' ', '_')}": value for group, value in by_group.items()}
        return results

    def _save(self, questions: Sequence[AnsweredQuestion]) -> None:
        for question in questions:
            if question.question_id is None:
                raise ValueError(
                    "save_to names each question by extras['question_id'], but "
                    f"{question.where or 'a question'} has none. Let the data set pass it on (keys.extras), or leave "
                    "save_to out."
                )
        if rank() == 0:
            entries = [{"question_id": question.question_id, "answer": question.answer} for question in questions]
            write_output(self.save_to, json.dumps(entries, ensure_ascii=False))
            print_log(f"{len(entries)} answers are in {self.save_to}", logger="current")

    def _log(
        self,
        results: dict[str, float],
        questions: Sequence[AnsweredQuestion],
        annotated: Sequence[AnsweredQuestion],
    ) -> None:
        if self.mode == "rank":
            kept = min(self.k, len(self.candidates))
            how = f"the likeliest of {len(self.candidates)} candidates, of which the {kept} with the likeliest first "
            how += f"tokens are scored in full (first token counted {self.first_token})"
        else:
            how = f"generated freely with {self.num_beams} beam{'s' if self.num_beams > 1 else ''}"
        majority = "; ".join(f"{value:.2f} % {name}" for name, value in results.items() if name.startswith("majority_"))
        print_log(
            f"question answering: {len(questions)} questions, {len(annotated)} with known answers, {how}. "
            "vqa_accuracy is that of the VQA challenge (several annotations), exact_match compares normalised "
            f"answers with one annotation. Always predicting the most frequent answer: {majority or 'unknown'}.",
            logger="current",
        )


def normalized_match(answer: str, annotations: Sequence[str]) -> float:
    """1 where an answer equals one of the annotations once both are normalised, else 0."""
    return exact_match(normalized_answer(answer), [normalized_answer(annotation) for annotation in annotations])
