"""Captioning: what does the model say of each picture, and how near is it to what people said?"""

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmengine.logging import print_log

from x2vlm.data.batch import Batch
from x2vlm.distributed import all_gather_objects, rank
from x2vlm.evaluation.metrics.java_metrics import check_java_scores, java_score
from x2vlm.evaluation.metrics.ngrams import bleu, caption_words, cider_d, rouge_l
from x2vlm.evaluation.record_fields import extras_of_texts
from x2vlm.gallery.retrieval_features import only_pairs, unseen
from x2vlm.models.eval_mode import eval_mode
from x2vlm.models.generation.search import Search, search_of
from x2vlm.registry import METRICS

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

Words = list[str]


@METRICS.register_module()
class CaptioningMetric:
    """BLEU, ROUGE-L and CIDEr-D of generated captions, beside those of always saying the most frequent caption.

    Every picture (region, clip) gets one caption; all texts of equal identity are its references, read as they stand:
    load them with ``AllCaptions(clean=False, max_words=None)``. No picture's caption depends on the size of a batch,
    unless the search says so.

    Args:
        tokenizer: The model's tokenizer, which turns ids into a caption.
        search: How captions are written: the arguments of :class:`~x2vlm.models.generation.beam_search.BeamSearch` or,
            with ``type="Sampling"``, of :class:`~x2vlm.models.generation.sampling.Sampling`. Default: the published
            search of three beams.
        objective: Name of the objective that writes.
        also: ``meteor`` and ``spice``, which need Java and the package pycocoevalcap.
        save_to: File for the captions: a JSON list with ``image_id`` (``extras["image_id"]`` of the record, or its
            place), ``caption`` and ``score``, as the COCO evaluation server takes it. Relative to the work folder; each
            evaluation writes it anew.
        work_dir: The run's work folder.

    Raises:
        ValueError: If an option has no meaning, or what ``also`` needs is not there.
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
        check_java_scores(also)
        self.tokenizer, self.search, self.objective = tokenizer, search_of(search), objective
        self.also = tuple(also)
        self.save_to = None if save_to is None else Path(work_dir or ".") / Path(save_to).expanduser()

    def evaluate(self, model: Any, loader: Iterable[Batch]) -> dict[str, float]:
        """Caption what the loaders of all processes yield, each its own share.

        Returns:
            Times 100: ``bleu1`` to ``bleu4``, ``rouge_l``, ``cider``, ``exact_match`` (the share of captions that are
            one of the references, word for word), ``meteor`` and ``spice`` where asked for; ``majority_bleu4``,
            ``majority_cider`` and ``majority_exact_match`` of always saying the most frequent reference.

        Raises:
            ValueError: If the model has no such objective, or there is nothing to caption.
        """
        if self.objective not in model.objectives:
            raise ValueError(
                f"CaptioningMetric needs objective '{self.objective}', but this model's objectives are: "
                f"{', '.join(model.objectives) or 'none'}. Add it, or leave this evaluation out."
            )
        seen: set[int] = set()
        own: dict[int, Captioned] = {}
        with eval_mode(model):
            for batch in loader:
                if len(batch):
                    self._caption(model, batch, seen, own)
        captioned = merged(all_gather_objects(own))
        if not captioned:
            raise ValueError("there is nothing to caption: the loader yielded no pictures.")
        if self.save_to is not None and rank() == 0:
            write_captions(self.save_to, captioned)
        made = [caption_words(one.caption) for one in captioned]
        references = [[caption_words(text) for text in one.references] for one in captioned]
        results = self._scores(made, references)
        self._log(results, references)
        return results

    def _caption(self, model: Any, batch: Batch, seen: set[int], own: "dict[int, Captioned]") -> None:
        if batch.owner is None or not batch.texts or batch.ids is None:
            raise ValueError(
                "captioning needs pictures with identities and their references as texts, but this evaluation yields "
                f"{'no pictures' if batch.owner is None else 'no texts'}. Load captions with AllCaptions(clean=False)."
            )
        new = unseen(batch.ids, seen)
        if len(new):
            pictures = replace(only_pairs(batch, new), text_ids=None, text_mask=None)
            encoded = model.encode(pictures.to(model.device))
            written = model.objectives[self.objective].generate(model, encoded, self.search)
            names = extras_of_texts(batch, "image_id")
            for pair, one in zip(new.tolist(), written, strict=True):
                place = batch.where[pair] if batch.where else str(len(own))
                name = place if names[pair] is None else names[pair]
                caption = self.tokenizer.decode(one.ids, skip_special_tokens=True).strip()
                own[int(batch.ids[pair])] = Captioned(name, caption, one.score)
        for identity, text in zip(batch.ids.tolist(), batch.texts, strict=True):
            own[identity].references.append(text)

    def _scores(self, made: list[Words], references: list[list[Words]]) -> dict[str, float]:
        bleus, most = bleu(made, references), [most_frequent(references)] * len(made)
        results = {f"bleu{n + 1}": 100 * score for n, score in enumerate(bleus)}
        results["rouge_l"] = mean(100 * rouge_l(*pair) for pair in zip(made, references, strict=True))
        results["cider"] = 100 * mean(cider_d(made, references))
        results["exact_match"] = exact_match(made, references)
        results |= {name: 100 * java_score(name, made, references) for name in self.also}
        results["majority_bleu4"] = 100 * bleu(most, references)[3]
        results["majority_cider"] = 100 * mean(cider_d(most, references))
        results["majority_exact_match"] = exact_match(most, references)
        return results

    def _log(self, results: dict[str, float], references: list[list[Words]]) -> None:
        count = sum(map(len, references))
        print_log(
            f"captioning of {len(references)} pictures with {count} references by {self.search}: BLEU (corpus, closest "
            "reference length), ROUGE-L and CIDEr-D (document frequencies of these references), on words cut as the "
            "Penn Treebank tokenizer does, without Java. Always saying the most frequent caption would get CIDEr-D "
            f"{results['majority_cider']:.2f} and BLEU-4 {results['majority_bleu4']:.2f}.",
            logger="current",
        )


@dataclass
class Captioned:
    """A picture's name, what the model says of it, and what people said."""

    image_id: Any
    caption: str
    score: float
    references: list[str] = field(default_factory=list)


def merged(processes: Sequence[dict[int, Captioned]]) -> list[Captioned]:
    """What all processes captioned, in the order of the data set; references of a picture that several met as one."""
    everything: dict[int, Captioned] = {}
    in_turns = sorted((n, r, i) for r, own in enumerate(processes) for n, i in enumerate(own))
    for _, r, identity in in_turns:
        one = processes[r][identity]
        if identity in everything:
            everything[identity].references.extend(one.references)
        else:
            everything[identity] = replace(one, references=list(one.references))
    return list(everything.values())


def write_captions(path: Path, captioned: Sequence[Captioned]) -> None:
    """Captions as a JSON list; folders on the way are made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = [{"image_id": one.image_id, "caption": one.caption, "score": one.score} for one in captioned]
    path.write_text(json.dumps(rows, ensure_ascii=False, indent=1), encoding="utf-8")


def most_frequent(references: Sequence[Sequence[Words]]) -> Words:
    """The sentence that occurs most often; of several the first in the alphabet."""
    counts = Counter(" ".join(words) for known in references for words in known)
    return min(counts, key=lambda sentence: (-counts[sentence], sentence)).split()


def exact_match(made: Sequence[Words], references: Sequence[Sequence[Words]]) -> float:
    """Share, in percent, of sentences that are one of their references."""
    return 100 * mean(float(words in known) for words, known in zip(made, references, strict=True))


def mean(values: Iterable[float]) -> float:
    """Arithmetic mean."""
    listed = list(values)
    return sum(listed) / len(listed)
