"""Open-vocabulary attributes: which of many attributes has the thing in this box?

Shape letters: B boxes, A attributes, S sentences, P pairs.
"""

import json
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
from x2vlm.data.transforms.text_cleaning import clean_caption
from x2vlm.distributed import all_gather_objects
from x2vlm.evaluation.metrics.recall import average_precision
from x2vlm.evaluation.record_fields import extras_of_contexts
from x2vlm.evaluation.scorers import scorers
from x2vlm.gallery.retrieval_features import join_texts, to_cpu
from x2vlm.models.eval_mode import eval_mode
from x2vlm.models.outputs import Context, TextStates
from x2vlm.registry import METRICS

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

UNKNOWN = -1
_ARTICLES = ("a", "the", "a photo of a", "a photo of the")
OBJECT_TEMPLATES = ("{object}", *(f"{article} {{object}}" for article in _ARTICLES))
TEMPLATES = {
    "is": (
        "{attribute} {object}",
        *(f"{article} {{attribute}} {{object}}" for article in _ARTICLES),
        *(f"{article} {{object}} that is {{attribute}}" for article in _ARTICLES),
    ),
    "has": (
        "{attribute} {kind} {object}",
        *(f"{article} {{attribute}} {{kind}} {{object}}" for article in _ARTICLES),
        *(f"{article} {{object}} with {{attribute}} {{kind}}" for article in _ARTICLES),
    ),
}


@METRICS.register_module()
class AttributeMetric:
    """Mean average precision over attributes, given the boxes: OVAD (arXiv:2211.12914), box-oracle setting, in percent.

    For each box every attribute gets a score: that of the best of its sentences (each of its synonyms in each
    template), less the mean score of sentences that name the object alone, so that an object that fits its box well
    does not raise all of its attributes. Average precision ranks the boxes of all images for one attribute at a time,
    leaving out those whose label is unknown; attributes that no box has are left out of the mean.

    It reads batches in which every pair is a box: its text is the object's name, its context the region in its box, or,
    where the pipeline crops boxes as the benchmark's own baselines do, the whole of the crop. Labels come as
    ``extras["attributes"]`` of each record: for every text (box) of the record, ``A`` numbers: 1 has it, 0 has it not,
    -1 unknown; or None where nothing is known. Data set ``Coco`` reads them from the benchmark's file, transform
    ``PickPhrases`` passes them on.

    Args:
        attributes: The benchmark's annotation file, or any JSON file with such a list (``attributes``, or the whole
            file): dicts with ``name`` (``"cleanliness:clean/neat"``: kind, then synonyms), ``freq_set`` (``head``,
            ``medium`` or ``tail``) and ``is_has_att`` (``is`` or ``has``); in the order of the labels (of ``id``, where
            there is one). Or the list itself.
        tokenizer: The model's tokenizer.
        scorer: ``itc``, ``itm`` or ``itc+itm``. The last two fuse every box with every sentence: give few templates.
        templates: Sentences for attributes that a thing ``is`` or ``has``, with ``{attribute}``, ``{object}`` and
            ``{kind}``. The benchmark leaves them to the model; these defaults are this library's.
        object_templates: Sentences with ``{object}`` alone; none leaves the attributes' scores as they are.
        max_tokens: Sentences are cut to so many tokens.
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
        lacking = sorted({one.verb for one in self.attributes} - self.templates.keys())
        if lacking:
            raise ValueError(
                f"templates has none for attributes that a thing {lacking[0]!r}. Add templates.{lacking[0]}."
            )

    def evaluate(self, model: Any, loader: Iterable[Batch]) -> dict[str, float]:
        """Score every box that the loaders of all processes yield, each its own share.

        Returns:
            Percentages: ``map`` over all attributes; ``map_head``, ``map_medium``, ``map_tail`` by how frequent they
            are; ``chance_map`` and so on, what random scores would get: the share of boxes that have the attribute.

        Raises:
            ValueError: If a box has another number of labels than there are attributes, no box is known to have one, or
                a score is not a number.
        """
        with eval_mode(model):
            parts = [self._read(model, batch) for batch in loader if len(batch)]
            scores = self._scores(model, parts)
        labels = torch.cat([part.labels for part in parts] or [torch.zeros(0, len(self.attributes))])
        everywhere = all_gather_objects((scores, labels))
        scores, labels = (torch.cat([process[i] for process in everywhere]) for i in range(2))
        if not (labels == 1).any():
            raise ValueError(
                "there is nothing to score: no box of this evaluation has an attribute. Records tell them in "
                "extras['attributes'], a list of labels for every box; Coco reads them from att_vec."
            )
        results = self._means(*precisions(scores, labels))
        self._log(results, labels)
        return results

    def _read(self, model: Any, batch: Batch) -> "_Boxes":
        count = len(self.attributes)
        rows = [[UNKNOWN] * count if row is None else row for row in extras_of_contexts(batch, "attributes")]
        wrong = [i for i, row in enumerate(rows) if len(row) != count]
        if wrong:
            raise ValueError(
                f"{batch.where[wrong[0]] if batch.where else 'a record'} has {len(rows[wrong[0]])} labels for a box in "
                f"extras['attributes'], but there are {count} attributes."
            )
        context = to_cpu(model.encode_context(batch.to(model.device)))
        return _Boxes(context, list(batch.texts), torch.tensor(rows))

    def _scores(self, model: Any, parts: Sequence["_Boxes"]) -> Tensor:
        """``[B, A]`` scores of the boxes of all parts; sentences of an object are encoded once."""
        scores = [torch.empty(len(part.objects), len(self.attributes)) for part in parts]
        for thing in sorted({name for part in parts for name in part.objects}):
            groups = [self.sentences(one, thing) for one in self.attributes]
            alone = [clean_caption(template.format(object=thing)) for template in self.object_templates]
            texts = self._encode(model, [sentence for group in groups for sentence in group] + alone)
            for part, rows in zip(parts, scores, strict=True):
                boxes = torch.tensor([i for i, name in enumerate(part.objects) if name == thing], dtype=torch.long)
                if len(boxes):
                    rows[boxes] = combine(self._pairs(model, part.context, boxes, texts), [*map(len, groups)])
        return torch.cat(scores or [torch.zeros(0, len(self.attributes))])

    def sentences(self, attribute: "Attribute", thing: str) -> list[str]:
        """Every sentence that says of this thing that it has the attribute."""
        return [
            clean_caption(template.format(attribute=synonym, kind=attribute.kind, object=thing))
            for synonym in attribute.synonyms
            for template in self.templates[attribute.verb]
        ]

    def _pairs(self, model: Any, context: Context, boxes: Tensor, texts: TextStates) -> Tensor:
        """``[boxes, S]``, each of the boxes with each of the sentences."""
        count = len(texts.mask)
        which, index = boxes.repeat_interleave(count), torch.arange(count).repeat(len(boxes))
        return self.score(model, context, which, texts, index, self.chunk).view(len(boxes), count)

    def _encode(self, model: Any, sentences: list[str]) -> TextStates:
        parts = []
        for first in range(0, len(sentences), self.chunk):
            rows = tokenize(self.tokenizer, sentences[first : first + self.chunk], self.max_tokens)
            ids, mask = padded_tokens(rows, self.tokenizer.pad_token_id)
            parts.append(to_cpu(model.encode_text(ids, mask)))
        return join_texts(parts)

    def _means(self, precision: Tensor, share: Tensor) -> dict[str, float]:
        results = {}
        for name in ("", *dict.fromkeys(one.frequency for one in self.attributes if one.frequency)):
            of_set = torch.tensor([name in ("", one.frequency) for one in self.attributes]) & ~precision.isnan()
            if of_set.any():
                end = f"_{name}" if name else ""
                results[f"map{end}"] = 100 * precision[of_set].mean().item()
                results[f"chance_map{end}"] = 100 * share[of_set].mean().item()
        return results

    def _log(self, results: dict[str, float], labels: Tensor) -> None:
        had = int((labels == 1).any(dim=0).sum())
        print_log(
            f"attributes of {len(labels)} given boxes, scored by {self.scorer_name}: mean average precision over the "
            f"{had} of {len(self.attributes)} attributes that some box has; unknown labels left out. Random scores "
            f"would get {results['chance_map']:.2f} %.",
            logger="current",
        )


@dataclass(frozen=True)
class Attribute:
    """An attribute: words for it, how a thing comes by it, and how frequent it is.

    Attributes:
        kind: What it is an attribute of, e.g. ``hair color``.
        synonyms: Words for it.
        verb: ``is`` or ``has``.
        frequency: ``head``, ``medium``, ``tail``, or empty where nobody says.
    """

    kind: str
    synonyms: tuple[str, ...]
    verb: str = "is"
    frequency: str = ""


@dataclass(frozen=True)
class _Boxes:
    """The boxes of a batch: contexts, names of their objects, and ``[B, A]`` labels."""

    context: Context
    objects: list[str]
    labels: Tensor


def read_attributes(source: str | Path | Sequence[Mapping[str, Any]]) -> list[Attribute]:
    """Attributes of the benchmark's annotation file or of a list like the one in it, in the order of the labels.

    Raises:
        ValueError: If there are none, or one has no name.
        FileNotFoundError: If there is no such file.
    """
    listed: Any = source
    if isinstance(source, (str, Path)):
        listed = json.loads(Path(source).read_text(encoding="utf-8"))
        listed = listed.get("attributes", ()) if isinstance(listed, Mapping) else listed
    if not listed:
        raise ValueError(f"{source if isinstance(source, (str, Path)) else 'attributes'}: there are no attributes.")
    for position, one in enumerate(listed):
        if not one.get("name"):
            raise ValueError(f"attribute {position} has no name. Given: {', '.join(one) or 'nothing'}.")
    ordered = sorted(listed, key=lambda one: one["id"]) if all("id" in one for one in listed) else listed
    return [_attribute(one) for one in ordered]


def _attribute(one: Mapping[str, Any]) -> Attribute:
    kind, _, words = one["name"].rpartition(":")
    synonyms = tuple(word.strip() for word in words.split("/") if word.strip())
    return Attribute(kind.replace(" tone", ""), synonyms, one.get("is_has_att", "is"), one.get("freq_set", ""))


def combine(scores: Tensor, counts: Sequence[int]) -> Tensor:
    """Scores of attributes from scores of sentences.

    Args:
        scores: ``[B, S]``: the sentences of each attribute in a row, then those that name the object alone.
        counts: How many sentences each of the ``A`` attributes has.

    Returns:
        ``[B, A]``: the best sentence of each attribute, less the mean of those of the object alone, if there are any.
    """
    *groups, alone = scores.split([*counts, scores.shape[1] - sum(counts)], dim=1)
    best = torch.stack([group.amax(dim=1) for group in groups], dim=1)
    return best - alone.mean(dim=1, keepdim=True) if alone.shape[1] else best


def precisions(scores: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Average precision of each attribute, and what random scores would get.

    Args:
        scores: ``[B, A]``.
        labels: ``[B, A]``: 1, 0, or -1 where unknown.

    Returns:
        ``[A]`` fractions of 1 twice; NaN for an attribute that no box has.

    Raises:
        ValueError: If a score is not a number.
    """
    if torch.isnan(scores).any():
        raise ValueError("some scores are not a number (NaN): the model has diverged, or its weights were not loaded.")
    nothing = float("nan")
    found = []
    for column, truth in zip(scores.T, labels.T, strict=True):
        known = truth != UNKNOWN
        right = truth[known] == 1
        share = right.double().mean().item() if right.any() else nothing
        found.append((average_precision(column[known], right) if right.any() else nothing, share))
    precision, share = torch.tensor(found, dtype=torch.double).unbind(dim=1)
    return precision, share
