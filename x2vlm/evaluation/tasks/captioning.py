"""Captioning: BLEU, ROUGE-L and CIDEr-D of generated captions."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from os import PathLike
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any

from mmengine.logging import print_log

from x2vlm.data.batch import Batch
from x2vlm.distributed import all_gather_objects, rank
from x2vlm.evaluation.metrics.exact_match import exact_match, most_frequent
from x2vlm.evaluation.metrics.java_metrics import check_java_metrics, java_metric
from x2vlm.evaluation.metrics.ngrams import bleu, caption_tokens, cider_d, rouge_l
from x2vlm.evaluation.metrics.percentages import percent
from x2vlm.evaluation.record_fields import extras_of_texts
from x2vlm.evaluation.required_objective import require_objective
from x2vlm.evaluation.saved_predictions import output_path, write_output
from x2vlm.gallery.select_pairs import first_occurrences, select_pairs
from x2vlm.models.eval_mode import eval_mode
from x2vlm.models.generation.search import Search, search_of
from x2vlm.registry import METRICS

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


@METRICS.register_module()
class CaptioningMetric:
    """BLEU, ROUGE-L and CIDEr-D of generated captions, beside the baseline that predicts the most frequent caption.

    Every image (region, clip) gets one caption; all texts of equal identity are its references, unchanged: load them
    with ``AllCaptions(clean=False, max_words=None)``. No caption depends on the batch size, unless the search does.

    Args:
        tokenizer: The model's tokenizer, which decodes captions.
        search: How captions are generated: the arguments of
            :class:`~x2vlm.models.generation.beam_search.BeamSearch` or, with ``type="Sampling"``, of
            :class:`~x2vlm.models.generation.sampling.Sampling`. Default: the published search of three beams.
        objective: Name of the objective that generates captions.
        also: ``meteor`` and ``spice``, which need Java and the package pycocoevalcap.
        save_to: File for the captions: a JSON list with ``image_id`` (``extras["image_id"]`` of the record, or its
            ``where``), ``caption`` and ``score``, as the COCO evaluation server takes it. Relative to the work folder;
            each evaluation overwrites it.
        work_dir: The run's work folder.

    Raises:
        ValueError: If an option is invalid, or what ``also`` needs is missing.
    """

    def __init__(
        self,
        tokenizer: "PreTrainedTokenizerBase",
        search: Mapping[str, Any] | Search | None = None,
        objective: str = "caption",
        also: Sequence[str] = (),
        save_to: str | PathLike | None = None,
        work_dir: str | PathLike | None = None,
    ) -> None:
        check_java_metrics(also)
        self.tokenizer, self.search, self.objective = tokenizer, search_of(search), objective
        self.also = tuple(also)
        self.save_to = output_path(save_to, work_dir)

    def called_methods(self, objectives: Iterable[str]) -> dict[str, tuple[str, ...]]:
        """What an evaluation calls of the model's objectives, by their names."""
        return {self.objective: ("generate",)}

    def evaluate(self, model: Any, loader: Iterable[Batch]) -> dict[str, float]:
        """Caption what the loaders of all processes yield, each its own share.

        Returns:
            Times 100: ``bleu1`` to ``bleu4``, ``rouge_l``, ``cider``, ``exact_match`` (the share of captions that equal
            one of their references, token for token), ``meteor`` and ``spice`` if they are in ``also``;
            ``majority_bleu4``, ``majority_cider`` and ``majority_exact_match`` of always predicting the most frequent
            reference.

        Raises:
            ValueError: If the model has no such objective, or there is nothing to caption.
        """
        require_objective(model, self.objective, "CaptioningMetric")
        seen: set[int] = set()
        captioned: dict[int, CaptionedImage] = {}
        with eval_mode(model):
            for batch in loader:
                if len(batch):
                    self._caption(model, batch, seen, captioned)
        images = merge_captioned(all_gather_objects(captioned))
        if not images:
            raise ValueError("there is nothing to caption: the loader yielded no images.")
        if self.save_to is not None and rank() == 0:
            write_captions(self.save_to, images)
        candidates = [caption_tokens(image.caption) for image in images]
        references = [[caption_tokens(text) for text in image.references] for image in images]
        results = self._metrics(candidates, references)
        self._log(results, references)
        return results

    def _caption(self, model: Any, batch: Batch, seen: set[int], captioned: "dict[int, CaptionedImage]") -> None:
        if batch.owner is None or not batch.texts or batch.ids is None:
            raise ValueError(
                "captioning needs images with identities and their references as texts, but this evaluation yields "
                f"{'no images' if batch.owner is None else 'no texts'}. Load captions with AllCaptions(clean=False)."
            )
        new = first_occurrences(batch.ids, seen)
        if len(new):
            images = replace(select_pairs(batch, new), text_ids=None, text_mask=None)
            encoded = model.encode(images.to(model.device))
            generated = model.objectives[self.objective].generate(model, encoded, self.search)
            image_ids = extras_of_texts(batch, "image_id")
            for pair, text in zip(new.tolist(), generated, strict=True):
                where = batch.where[pair] if batch.where else str(len(captioned))
                image_id = where if image_ids[pair] is None else image_ids[pair]
                caption = self.tokenizer.decode(text.ids, skip_special_tokens=True).strip()
                captioned[int(batch.ids[pair])] = CaptionedImage(image_id, caption, text.score)
        for identity, reference in zip(batch.ids.tolist(), batch.texts, strict=True):
            captioned[identity].references.append(reference)

    def _metrics(self, candidates: list[list[str]], references: list[list[list[str]]]) -> dict[str, float]:
        most_common = most_frequent(" ".join(tokens) for texts in references for tokens in texts).split()
        majority = [most_common] * len(candidates)
        results = {f"bleu{n + 1}": 100 * score for n, score in enumerate(bleu(candidates, references))}
        results["rouge_l"] = percent([rouge_l(*pair) for pair in zip(candidates, references, strict=True)])
        results["cider"] = 100 * fmean(cider_d(candidates, references))
        results["exact_match"] = percent([exact_match(*pair) for pair in zip(candidates, references, strict=True)])
        results |= {name: 100 * java_metric(name, candidates, references) for name in self.also}
        results["majority_bleu4"] = 100 * bleu(majority, references)[3]
        results["majority_cider"] = 100 * fmean(cider_d(majority, references))
        results["majority_exact_match"] = percent([exact_match(most_common, texts) for texts in references])
        return results

    def _log(self, results: dict[str, float], references: list[list[list[str]]]) -> None:
        count = sum(map(len, references))
        print_log(
            f"captioning of {len(references)} images with {count} references by {self.search}: BLEU (corpus, closest "
            "reference length), ROUGE-L and CIDEr-D (document frequencies of these references), on tokens like those "
            "of the Penn Treebank tokenizer, without Java. Always predicting the most frequent caption would get "
            f"CIDEr-D {results['majority_cider']:.2f} and BLEU-4 {results['majority_bleu4']:.2f}.",
            logger="current",
        )


@dataclass
class CaptionedImage:
    """An image's name, its generated caption with the score of the search, and its references."""

    image_id: Any
    caption: str
    score: float
    references: list[str] = field(default_factory=list)


def merge_captioned(processes: Sequence[dict[int, CaptionedImage]]) -> list[CaptionedImage]:
    """The images of all processes in the order of the data set; references of an image are joined.

    Args:
        processes: By process: images by identity, in the order of the process's records, which take turns.
    """
    merged: dict[int, CaptionedImage] = {}
    order = sorted((n, r, identity) for r, captioned in enumerate(processes) for n, identity in enumerate(captioned))
    for _, r, identity in order:
        image = processes[r][identity]
        if identity in merged:
            merged[identity].references.extend(image.references)
        else:
            merged[identity] = replace(image, references=list(image.references))
    return list(merged.values())


def write_captions(path: Path, images: Sequence[CaptionedImage]) -> None:
    """Write captions as a JSON list; missing folders are made."""
    entries = [{"image_id": image.image_id, "caption": image.caption, "score": image.score} for image in images]
    write_output(path, json.dumps(entries, ensure_ascii=False, indent=1))
