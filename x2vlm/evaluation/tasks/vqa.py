"""Question answering in words: how often does the model say what people said?"""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmengine.logging import print_log

from x2vlm.building import suggestion
from x2vlm.data.batch import Batch
from x2vlm.data.collate.padding import padded_tokens
from x2vlm.data.tokenizer import tokenize
from x2vlm.data.transforms.labels import read_classes
from x2vlm.distributed import all_gather_objects, rank
from x2vlm.evaluation.metrics.vqa_accuracy import exact_match, most_frequent, vqa_accuracy
from x2vlm.evaluation.record_fields import extras_of_texts
from x2vlm.models.eval_mode import eval_mode
from x2vlm.models.generation.answers import FIRST_TOKENS
from x2vlm.registry import METRICS

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

MODES = ("rank", "write")


@dataclass(frozen=True)
class Answered:
    """One question after the model: what it said, what people said (None where nobody knows), and of which kind."""

    where: str
    question_id: Any
    answer: str
    people: tuple[str, ...] | None
    kinds: tuple[Any, ...]


@METRICS.register_module()
class VQAMetric:
    """Accuracy of written answers in percent: that of the VQA challenge, or exact match where one answer is known.

    Records tell people's answers in ``extras["answers"]`` (:class:`~x2vlm.data.transforms.labels.PickAnswers` puts
    them there). A test set without answers is only answered: give ``save_to``, and send that file to its server.

    Args:
        tokenizer: The tokenizer of the answers.
        answer_list: Candidates to rank: strings, or a file (``.json`` with a list, or one a line). Published: 3,128.
        mode: ``rank`` chooses from ``answer_list``, as published; ``write`` writes freely.
        k: Candidates of the second stage of ranking (see :func:`~x2vlm.models.generation.answers.rank_answers`).
        first_token: ``once``, or ``twice`` as published.
        num_beams: Beams of ``write``; 1 is greedy.
        max_tokens: Most tokens of a written answer, [SEP] included.
        by: Keys of ``extras``; where records tell one, each of its values gets an accuracy of its own.
        save_to: File for what the model answered, as the challenge's server takes it: a list of ``question_id`` and
            ``answer``. Relative to the run's work folder; each evaluation writes it anew.
        objective: Name of the objective that answers.
        chunk: Answers that are scored at once.
        work_dir: The run's work folder.

    Raises:
        ValueError: If an option has no meaning.
        FileNotFoundError: If the list of answers is not there.
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
        for name, value, known in (("mode", mode, MODES), ("first_token", first_token, FIRST_TOKENS)):
            if value not in known:
                raise ValueError(f"{name} is {value!r}.{suggestion(str(value), known)} Accepted: {', '.join(known)}.")
        if (mode == "rank") == (answer_list is None):
            raise ValueError(
                "mode='rank' chooses from answer_list: give a file or a list of strings. mode='write' takes none."
            )
        if min(k, num_beams, max_tokens, chunk) < 1:
            raise ValueError(f"k={k}, num_beams={num_beams}, max_tokens={max_tokens}, chunk={chunk}: counts from 1.")
        if tokenizer is None:
            raise ValueError("answers are made of a tokenizer's words: the config needs a tokenizer.")
        self.tokenizer, self.mode, self.objective = tokenizer, mode, objective
        self.candidates: list[str] = []
        if answer_list is not None:
            numbers = read_classes(answer_list, "VQAMetric.answer_list")
            self.candidates = sorted(numbers, key=numbers.get)
        self.k, self.first_token, self.chunk = k, first_token, chunk
        self.num_beams, self.max_tokens, self.by = num_beams, max_tokens, tuple(by)
        self.save_to = None if save_to is None else Path(work_dir or ".") / Path(save_to).expanduser()

    def evaluate(self, model: Any, loader: Iterable[Batch]) -> dict[str, float]:
        """Answer everything that the loaders of all processes yield, each its own share.

        Returns:
            Percentages: ``vqa_accuracy`` of the questions that several people answered, ``exact_match`` of those with
            one known answer; ``vqa_accuracy_number`` and so on for each value of ``by``; ``majority_vqa_accuracy`` and
            ``majority_exact_match`` of always giving the most frequent answer. Nothing where no answer is known.

        Raises:
            ValueError: If the model has no such objective, there is no question, no answer is known and none are to be
                saved, or they are to be saved and a question has no ``question_id``.
        """
        if self.objective not in model.objectives:
            raise ValueError(
                f"VQAMetric needs objective '{self.objective}', but this model's objectives are: "
                f"{', '.join(model.objectives) or 'none'}. Add it, or leave this evaluation out."
            )
        with eval_mode(model):
            candidates = self._candidates(model)
            answered = [one for batch in loader if len(batch) for one in self._answer(model, batch, candidates)]
        everything = [one for process in all_gather_objects(answered) for one in process]
        if not everything:
            raise ValueError("there is nothing to answer: the loader yielded no questions.")
        if self.save_to is not None:
            self._save(everything)
        judged = [one for one in everything if one.people]
        if not judged and self.save_to is None:
            raise ValueError(
                "no question of this evaluation has a known answer in extras['answers']. Put PickAnswers into the "
                "pipeline, or give save_to to write the answers down."
            )
        results = {}
        for name, some, score in (
            ("vqa_accuracy", [one for one in judged if len(one.people) > 1], vqa_accuracy),
            ("exact_match", [one for one in judged if len(one.people) == 1], lambda a, people: exact_match(a, *people)),
        ):
            if some:
                results |= self._figures(name, some, score)
        self._log(results, everything, judged)
        return results

    def _candidates(self, model: Any) -> tuple[Any, Any]:
        rows = tokenize(self.tokenizer, self.candidates, None) if self.candidates else []
        return tuple(tensor.to(model.device) for tensor in padded_tokens(rows, self.tokenizer.pad_token_id))

    def _answer(self, model: Any, batch: Batch, candidates: tuple[Any, Any]) -> list[Answered]:
        objective, encoded = model.objectives[self.objective], model.encode(batch.to(model.device))
        questions = model.read(objective.requests(encoded))
        if self.mode == "rank":
            made = objective.rank(questions, *candidates, k=self.k, first_token=self.first_token, chunk=self.chunk)
            answers = [self.candidates[number] for number in made.ids[:, 0].tolist()]
        else:
            ends = self.tokenizer.cls_token_id, self.tokenizer.sep_token_id
            made = objective.write(questions, *ends, num_beams=self.num_beams, max_tokens=self.max_tokens)
            answers = self.tokenizer.batch_decode(made.ids[:, 0], skip_special_tokens=True)
        people, numbers = extras_of_texts(batch, "answers"), extras_of_texts(batch, "question_id")
        kinds = zip(*(extras_of_texts(batch, key) for key in self.by), strict=True) if self.by else [()] * len(answers)
        where = batch.where or [""] * len(answers)
        known = [None if one is None else (one,) if isinstance(one, str) else tuple(one) for one in people]
        return list(map(Answered, where, numbers, answers, known, map(tuple, kinds)))

    def _figures(self, name: str, some: Sequence[Answered], score: Any) -> dict[str, float]:
        each = [score(one.answer, one.people) for one in some]
        guess = most_frequent([one.people for one in some])
        results = {name: _percent(each), f"majority_{name}": _percent([score(guess, one.people) for one in some])}
        for i in range(len(self.by)):
            for kind in sorted({one.kinds[i] for one in some if one.kinds[i] is not None}, key=str):
                of_kind = [value for value, one in zip(each, some, strict=True) if one.kinds[i] == kind]
                results[f"{name}_{str(kind).replace(' ', '_')}"] = _percent(of_kind)
        return results

    def _save(self, everything: Sequence[Answered]) -> None:
        for one in everything:
            if one.question_id is None:
                raise ValueError(
                    f"save_to names each question by extras['question_id'], but {one.where or 'a question'} has none. "
                    "Let the data set pass it on (keys.extras), or leave save_to out."
                )
        if rank() == 0:
            lines = [{"question_id": one.question_id, "answer": one.answer} for one in everything]
            self.save_to.parent.mkdir(parents=True, exist_ok=True)
            self.save_to.write_text(json.dumps(lines, ensure_ascii=False), encoding="utf-8")
            print_log(f"{len(lines)} answers are in {self.save_to}", logger="current")

    def _log(self, results: dict[str, float], everything: Sequence[Answered], judged: Sequence[Answered]) -> None:
        if self.mode == "rank":
            kept = min(self.k, len(self.candidates))
            how = f"the likeliest of {len(self.candidates)} candidates, of which the {kept} of the likeliest first "
            how += f"tokens are scored as a whole (first token counted {self.first_token})"
        else:
            how = f"written freely with {self.num_beams} beam{'s' if self.num_beams > 1 else ''}"
        guessed = "; ".join(f"{value:.2f} % {name}" for name, value in results.items() if name.startswith("majority_"))
        print_log(
            f"question answering: {len(everything)} questions, {len(judged)} with known answers, {how}. "
            "vqa_accuracy is that of the VQA challenge (several people's answers), exact_match compares normalised "
            f"answers where one is known. Always giving the most frequent answer: {guessed or 'unknown'}.",
            logger="current",
        )


def _percent(values: Sequence[float]) -> float:
    return 100 * sum(values) / len(values)
