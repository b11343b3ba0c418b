"""Open-vocabulary attributes: mean average precision of the attributes of given boxes.

Shape letters: B boxes, A attributes, S sentences.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from mmengine.logging import print_log
from torch import Tensor

from x2vlm.data.batch import Batch
from x2vlm.data.collate.padding import padded_tokens
from x2vlm.data.tokenizer import tokenize
from x2vlm.data.transforms.texts.text_cleaning import clean_caption
from x2vlm.distributed import all_gather_objects
from x2vlm.evaluation.metrics.average_precision import average_precision
from x2vlm.evaluation.record_fields import extras_by_text
from x2vlm.evaluation.scorers import scorers
from x2vlm.evaluation.tasks.attribute_templates import OBJECT_TEMPLATES, TEMPLATES, Attribute, read_attributes
from x2vlm.gallery.score_check import check_not_nan
from x2vlm.models.eval_mode import eval_mode
from x2vlm.models.join_outputs import join_texts, to_cpu
from x2vlm.models.outputs import Context, TextStates
from x2vlm.registry import METRICS

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

UNKNOWN = -1


@METRICS.register_module()
class AttributeMetric:
    """Mean average precision over attributes, given the boxes: OVAD (arXiv:2211.12914), box-oracle setting, in percent.

    The score of an attribute for a box is that of the best of its sentences (each of its synonyms in each template),
    less the mean score of sentences that name the object alone, so that an object that matches its box well does not
    raise all of its attributes. Average precision ranks the boxes of all images for one attribute at a time, without
    those whose label is unknown; attributes without a positive box are left out of the mean.

    It takes batches in which every pair is a box: its text is the object's name, its context the region of the box, or,
    where the pipeline crops boxes as the benchmark's own baselines do, the whole crop. Labels are in
    ``extras["attributes"]`` of each record: for every text (box) of the record ``A`` numbers, 1 positive, 0 negative,
    -1 unknown; or None where all are unknown. Data set ``Coco`` reads them from the benchmark's file, transform
    ``PickPhrases`` passes them on.

    Args:
        attributes: The benchmark's annotation file, or any JSON file with such a list (``attributes``, or the whole
            file): dicts with ``name`` (``"cleanliness:clean/neat"``: kind, then synonyms), ``freq_set`` (``head``,
            ``medium`` or ``tail``) and ``is_has_att`` (``is`` or ``has``); in the order of the labels (of ``id``, where
            there is one). Or the list itself.
        tokenizer: The model's tokenizer.
        scorer: ``itc``, ``itm`` or ``itc+itm``. The last two fuse every box with every sentence: use few templates.
        templates: Sentences for attributes that an object ``is`` or ``has``, with ``{attribute}``, ``{object}`` and
            ``{kind}``. The benchmark leaves them to the model; the defaults are this library's.
        object_templates: Sentences with ``{object}`` alone; with none, nothing is subtracted.
        max_tokens: Sentences are truncated to so many tokens.
        chunk: Sentences encoded, and pairs scored, at once.
    """

    paths_or_names = ("attributes",)

    def __init__(
        self,
        attributes: str | Path | Sequence[Mapping[str, Any]],
        tokenizer: "PreTrainedTokenizerBase",
        scorer: str = "itc",
        templates: Mapping[str, Sequence[str]] | None = None,
        object_templates: Sequence[str] = OBJECT_TEMPLATES,
        max_tokens: int = 40,
        chunk: int = 256,
    ) -> None:
        self.attributes = read_attributes(attributes)
        self.tokenizer, self.max_tokens, self.chunk = tokenizer, max_tokens, chunk
        ((self.scorer_name, self.score),) = scorers([scorer]).items()
        self.templates = dict(TEMPLATES if templates is None else templates)
        self.object_templates = tuple(object_templates)
        missing = sorted({attribute.verb for attribute in self.attributes} - self.templates.keys())
        if missing:
            raise ValueError(
                f"templates has none for attributes that an object {missing[0]!r}. Add templates.{missing[0]}."
            )

    def evaluate(self, model: Any, loader: Iterable[Batch]) -> dict[str, float]:
        """Score every box that the loaders of all processes yield, each its own share.

        Returns:
            Percentages: ``map`` over all attributes; ``map_head``, ``map_medium``, ``map_tail`` by their frequency;
            ``chance_map`` and so on of random scores: the share of positive boxes.

        Raises:
            ValueError: If a box has another number of labels than there are attributes, no box has a positive label,
                or a score is not a number.
        """
        with eval_mode(model):
            sizes: set[tuple[int, int]] = set()
            batches = []
            for batch in loader:
                if len(batch):
                    sizes.add(tuple(batch.pixels.shape[-2:]))
                    batches.append(self._encode_boxes(model, batch))
            scores = self._scores(model, batches)
        labels = torch.cat([boxes.labels for boxes in batches] or [torch.zeros(0, len(self.attributes))])
        gathered = all_gather_objects((scores, labels))
        scores, labels = (torch.cat(tensors) for tensors in zip(*gathered, strict=True))
        if not (labels == 1).any():
            raise ValueError(
                "there is nothing to score: no box of this evaluation has an attribute. Records hold them in "
                "extras['attributes'], a list of labels for every box; Coco reads them from att_vec."
            )
        results = self._means(*precisions(scores, labels))
        self._log(results, labels, sizes)
        return results

    def _encode_boxes(self, model: Any, batch: Batch) -> "_EncodedBoxes":
        count = len(self.attributes)
        labels = [[UNKNOWN] * count if row is None else row for row in extras_by_text(batch, "attributes")]
        wrong = [i for i, row in enumerate(labels) if len(row) != count]
        if wrong:
            raise ValueError(
                f"{batch.where[wrong[0]] if batch.where else 'a record'} has {len(labels[wrong[0]])} labels for a box "
                f"in extras['attributes'], but there are {count} attributes."
            )
        context = to_cpu(model.encode_context(batch.to(model.device)))
        return _EncodedBoxes(context, list(batch.texts), torch.tensor(labels))

    def _scores(self, model: Any, batches: Sequence["_EncodedBoxes"]) -> Tensor:
        """``[B, A]`` scores of the boxes of all batches; the sentences of an object are encoded once."""
        scores = [torch.empty(len(boxes.objects), len(self.attributes)) for boxes in batches]
        for name in sorted({name for boxes in batches for name in boxes.objects}):
            groups = [self.sentences(attribute, name) for attribute in self.attributes]
            object_only = [clean_caption(template.format(object=name)) for template in self.object_templates]
            texts = self._encode_sentences(model, [sentence for group in groups for sentence in group] + object_only)
            for boxes, rows in zip(batches, scores, strict=True):
                index = torch.tensor([i for i, other in enumerate(boxes.objects) if other == name], dtype=torch.long)
                if len(index):
                    sentence_scores = self._score_sentences(model, boxes.context, index, texts)
                    rows[index] = combine(sentence_scores, [*map(len, groups)])
        return torch.cat(scores or [torch.zeros(0, len(self.attributes))])

    def sentences(self, attribute: Attribute, object_name: str) -> list[str]:
        """All sentences that describe an object with an attribute."""
        return [
            clean_caption(template.format(attribute=synonym, kind=attribute.kind, object=object_name))
            for synonym in attribute.synonyms
            for template in self.templates[attribute.verb]
        ]

    def _score_sentences(self, model: Any, context: Context, boxes: Tensor, texts: TextStates) -> Tensor:
        """``[boxes, S]``, each of the boxes with each of the sentences."""
        count = len(texts.mask)
        context_index, text_index = boxes.repeat_interleave(count), torch.arange(count).repeat(len(boxes))
        return self.score(model, context, context_index, texts, text_index, self.chunk).view(len(boxes), count)

    def _encode_sentences(self, model: Any, sentences: list[str]) -> TextStates:
        texts = []
        for start in range(0, len(sentences), self.chunk):
            tokens = tokenize(self.tokenizer, sentences[start : start + self.chunk], self.max_tokens)
            ids, mask = padded_tokens(tokens, self.tokenizer.pad_token_id)
            texts.append(to_cpu(model.encode_text(ids, mask)))
        return join_texts(texts)

    def _means(self, precision: Tensor, share: Tensor) -> dict[str, float]:
        results = {}
        frequencies = [attribute.frequency for attribute in self.attributes]
        for name in ("", *dict.fromkeys(frequency for frequency in frequencies if frequency)):
            selected = torch.tensor([name in ("", frequency) for frequency in frequencies]) & ~precision.isnan()
            if selected.any():
                suffix = f"_{name}" if name else ""
                results[f"map{suffix}"] = 100 * precision[selected].mean().item()
                results[f"chance_map{suffix}"] = 100 * share[selected].mean().item()
        return results

    def _log(self, results: dict[str, float], labels: Tensor, sizes: set[tuple[int, int]]) -> None:
        pixels = ", ".join(f"{height}x{width}" for height, width in sorted(sizes))
        positive = int((labels == 1).any(dim=0).sum())
        print_log(
            f"attributes of {len(labels)} given boxes at {pixels} pixels, scored by {self.scorer_name}: mean average "
            f"precision over the {positive} of {len(self.attributes)} attributes with a positive box; "
            f"unknown labels left out. Random scores would get {results['chance_map']:.2f} %.",
            logger="current",
        )


@dataclass(frozen=True)
class _EncodedBoxes:
    """The boxes of a batch: contexts, names of their objects, and ``[B, A]`` labels."""

    context: Context
    objects: list[str]
    labels: Tensor


def combine(scores: Tensor, counts: Sequence[int]) -> Tensor:
    """Scores of attributes from scores of sentences.

    Args:
        scores: ``[B, S]``: the sentences of each attribute, one attribute after the other, then those of the object
            alone.
        counts: How many sentences each of the ``A`` attributes has.

    Returns:
        ``[B, A]``: the best sentence of each attribute, less the mean of those of the object alone, if there are any.
    """
    *groups, object_only = scores.split([*counts, scores.shape[1] - sum(counts)], dim=1)
    best = torch.stack([group.amax(dim=1) for group in groups], dim=1)
    return best - object_only.mean(dim=1, keepdim=True) if object_only.shape[1] else best


def precisions(scores: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Average precision of each attribute, and the share of positive boxes, which random scores would get.

    Args:
        scores: ``[B, A]``.
        labels: ``[B, A]``: 1, 0, or -1 where unknown.

    Returns:
        ``[A]`` fractions of 1 twice; NaN for an attribute without a positive box.

    Raises:
        ValueError: If a score is not a number.
    """
    check_not_nan(scores)
    results = []
    for attribute_scores, attribute_labels in zip(scores.T, labels.T, strict=True):
        known = attribute_labels != UNKNOWN
        positive = attribute_labels[known] == 1
        if positive.any():
            share = positive.double().mean().item()
            results.append((average_precision(attribute_scores[known], positive), share))
        else:
            results.append((float("nan"), float("nan")))
    precision, share = torch.tensor(results, dtype=torch.double).unbind(dim=1)
    return precision, share
