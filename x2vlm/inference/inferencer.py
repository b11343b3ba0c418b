"""Ask a trained model: which text fits, which image, where is it, what is the answer, what is to be seen?

Shape letters: B images, T texts, E embed_dim.
"""

import logging
import warnings
from collections.abc import Sequence
from os import PathLike
from typing import Any

from x2vlm.inference.deprecated_names import renamed_argument, renamed_attributes
from x2vlm.inference.draw_boxes import COLORS, BoxAnnotation, draw_boxes
from x2vlm.inference.feature_encoder import FeatureEncoder, Images, Videos, as_list
from x2vlm.inference.image_index import ImageIndex
from x2vlm.inference.inputs import ImageInput, images_in, is_many, with_name
from x2vlm.inference.results import Answer, AttributeScore, Caption, Grounding, Label, Match, Retrieved
from x2vlm.inference.tasks.attribute_scores import attribute_scores
from x2vlm.inference.tasks.classify import classify
from x2vlm.inference.tasks.explain import Explanation, explain
from x2vlm.inference.tasks.generate import answer, caption
from x2vlm.inference.tasks.ground import ground
from x2vlm.inference.tasks.match import match
from x2vlm.models.eval_mode import eval_mode
from x2vlm.registry import INFERENCERS

LOG = logging.getLogger("x2vlm")
_renamed = renamed_argument("picture", "image")


@INFERENCERS.register_module()
class Inferencer(FeatureEncoder):
    """A model, and what stands between it and people: images and texts in, dataclasses out.

    Every method takes one image (or, as ``video=``, one clip: a path or a list of frames) and gives one result, or a
    list of images and gives a list of results. ``tasks`` says which methods the model can serve.

    Args:
        model: The model, on the device where it is to compute.
        tokenizer: Of its texts; the model's own if not given.
        preprocessing: How images and texts are prepared; what the model carries if not given.
        urls: Fetch images whose path is an address. Off: such a path is refused.
        chunk: Images, or texts, that go through the model at once.

    Raises:
        ValueError: If a weight of the model is not finite.
    """

    @_renamed
    def match(
        self,
        image: Images | None = None,
        texts: str | Sequence[str] = (),
        k: int | None = None,
        video: Videos | None = None,
    ) -> list[Match] | list[list[Match]]:
        """Which of these texts fits?

        Args:
            image: One image, or a list.
            texts: One or more.
            k: Compute the probability of the ``k`` texts of highest cosine only, as retrieval does; None: of all.
            video: One clip, or a list, instead of images.

        Returns:
            All texts, best first: by probability, then (those without) by cosine; of a list, such a list an image.
        """
        self.check_task("match")
        many, pixels = self._pixels(image, video)
        texts = as_list(texts)
        with eval_mode(self.model):
            found = match(self.model, pixels, texts, self.processor.captions(texts), k, self.chunk)
        return found if many else found[0]

    def index(
        self,
        images: str | PathLike | Sequence[ImageInput] | None,
        keep: str | PathLike | None = None,
        progress: Any = None,
    ) -> ImageIndex:
        """The features of a gallery, to be searched again and again.

        Args:
            images: A folder (all images in it and below), or a list of images; None: those that are kept already.
            keep: A folder where the features of image files stay: the next time only new and changed files are
                encoded. Features of another model there are refused.
            progress: Called with the number of images that are done, after each chunk.

        Images that cannot be read are left out; a warning names the first, the index's ``broken`` all of them.
        """
        self.check_task("retrieve")
        if images is None and keep is None:
            raise ValueError("give the images, or the folder that keeps their features.")
        files = images_in(images) if isinstance(images, str | PathLike) else images and list(images)
        index = ImageIndex.of(self, files, progress) if keep is None else ImageIndex.kept(self, files, keep, progress)
        if index.broken:
            first = "; ".join(with_name(*one) for one in index.broken[:3])
            LOG.warning("%d images cannot be read and are left out: %s", len(index.broken), first)
        return index

    def retrieve(
        self, query: str, images: str | PathLike | Sequence[ImageInput] | ImageIndex, k: int = 10, rerank: int = 32
    ) -> list[Retrieved]:
        """Which images does this text describe?

        Args:
            query: The text.
            images: A folder, a list of images, or what :meth:`index` made of them.
            k: How many to name.
            rerank: So many of the nearest by cosine are ordered anew by the probability of matching, where the model
                has objective ``itm``; 0: by cosine alone.
        """
        self.check_task("retrieve")
        index = images if isinstance(images, ImageIndex) else self.index(images)
        return index.search(self, query, k, rerank)

    def ground(
        self,
        image: Images,
        phrases: str | Sequence[str],
        candidates: int = 1,
        threshold: float = 0.0,
    ) -> Any:
        """Where is what each phrase describes?

        Args:
            image: One image, or a list.
            phrases: One, or more.
            candidates: Boxes to propose for each phrase, the best first. More than one: the phrase is also looked for
                in overlapping parts of the image, and what it matches best comes first.
            threshold: A phrase whose probability of matching the image is below is "not in this image": it has no box.

        Returns:
            A :class:`~x2vlm.inference.results.Grounding` for one phrase, a list for a list of phrases; of several
            images, such a thing an image.
        """
        self.check_task("ground")
        many = is_many(image)
        given = list(image) if many else [image]
        words = as_list(phrases)
        with eval_mode(self.model):
            tokens = self.processor.captions(words)
            found = [
                ground(self.model, self.processor, self.processor.read(one), words, tokens, candidates, threshold)
                for one in given
            ]
        found = [one[0] for one in found] if isinstance(phrases, str) else found
        return found if many else found[0]

    @_renamed
    def answer(
        self,
        image: Images | None = None,
        questions: str | Sequence[str] = (),
        candidates: Sequence[str] | None = None,
        k: int = 128,
        best: int = 1,
        max_tokens: int = 10,
        video: Videos | None = None,
    ) -> Any:
        """What does the model answer?

        Args:
            image: One image, or a list.
            questions: One, or more; all of them are put to every image.
            candidates: Answers to choose from; None lets the model generate.
            k: Of so many candidates of the likeliest first tokens the whole is scored.
            best: Answers to give to each question, the runners-up in ``others``.
            max_tokens: Most tokens of a generated answer.
            video: One clip, or a list, instead of images.

        Returns:
            An :class:`~x2vlm.inference.results.Answer` to one question, a list to a list; of several images, such a
            thing an image.
        """
        self.check_task("answer")
        many, pixels = self._pixels(image, video)
        words = as_list(questions)
        options = {"candidates": candidates, "k": k, "best": best, "max_tokens": max_tokens}
        with eval_mode(self.model):
            tokens = self.processor.questions(words)
            found: list[list[Answer]] = [
                answer(self.model, self._batch(one[None], tokens), words, self.processor.tokenizer, **options)
                for one in pixels
            ]
        found = [one[0] for one in found] if isinstance(questions, str) else found
        return found if many else found[0]

    @_renamed
    def caption(self, image: Images | None = None, search: Any = None, video: Videos | None = None) -> Any:
        """A caption of an image or clip; of a list, a list.

        Args:
            image: One image, or a list.
            search: How tokens are chosen: arguments of :class:`~x2vlm.models.generation.beam_search.BeamSearch` or,
                with ``type="Sampling"``, of :class:`~x2vlm.models.generation.sampling.Sampling`; the published search
                if not given.
            video: One clip, or a list, instead of images.
        """
        self.check_task("caption")
        many, pixels = self._pixels(image, video)
        with eval_mode(self.model):
            found: list[Caption] = [
                one
                for part in pixels.split(self.chunk)
                for one in caption(self.model, self._batch(part), self.processor.tokenizer, search)
            ]
        return found if many else found[0]

    def classify(
        self,
        image: Any = None,
        texts: Any = None,
        classes: Sequence[str] | None = None,
        best: int = 5,
        video: Videos | None = None,
    ) -> list[Label] | Label:
        """The class of an image, of a sentence, or of a sentence about an image (or about two: NLVR2).

        Args:
            image: What the model reads: an image; a tuple of images that one text reads together; or a list of these.
                None where it reads sentences alone.
            texts: A sentence (a tuple of two, where pairs are classified), or a list of as many as there are images.
                None where it reads images alone.
            classes: Names of the classes, in order; what the model carries if not given, else numbers.
            best: How many classes to name.
            video: One clip, or a list, instead of images.
        """
        self.check_task("classify")
        names = tuple(classes or self.processor.settings.classes)
        with eval_mode(self.model):
            return classify(self.model, self.processor, image, texts, video, names, best, self.chunk)

    def attributes(
        self, image: ImageInput, names: Sequence[str], box_xyxy_px: Sequence[float] | None = None, noun: str = "object"
    ) -> list[AttributeScore]:
        """Which of these attributes has the thing in the box, the likeliest first (as in OVAD, arXiv:2211.12914)?

        Args:
            image: The image.
            names: Attributes, e.g. ``["red", "wooden"]``.
            box_xyxy_px: Where the thing is; None: the whole image.
            noun: What it is.
        """
        self.check_task("attributes")
        array = self.processor.read(image)
        with eval_mode(self.model):
            return attribute_scores(self.model, self.processor, array, as_list(names), box_xyxy_px, noun)

    def explain(
        self,
        image: ImageInput,
        text: str,
        word: str | None = None,
        layer: int | None = None,
        method: str = "gradcam",
    ) -> Explanation:
        """Which parts of the image does a text, or a word of it, rest on?

        Args:
            image: The image.
            text: The text.
            word: A word (or several in a row) of the text; None: all of it.
            layer: A layer of the fusion encoder, from 0; None: the one in the middle, but not the last: there only
                [CLS] has a gradient.
            method: ``gradcam``: attention times the gradient of the matching logit (arXiv:2107.07651, Sec. 5);
                ``attention``: attention alone.
        """
        self.check_task("explain")
        with eval_mode(self.model):
            return explain(self.model, self.processor, self.processor.read(image), text, word, layer, method)

    def draw(self, image: ImageInput, groundings: Grounding | Sequence[Grounding], side: int = 640) -> Any:
        """The image (a Pillow image of that longer side) with the boxes of :meth:`ground` and their phrases."""
        every = [groundings] if isinstance(groundings, Grounding) else list(groundings)
        found = [(number, one) for number, one in enumerate(every) if one.found]
        boxes = [BoxAnnotation(one.box_xyxy_px, one.text, COLORS[number % len(COLORS)]) for number, one in found]
        return draw_boxes(self.processor.read(image), boxes, side)

    def locate(self, image: ImageInput, phrases: str | Sequence[str]) -> list[Grounding]:
        """The old name of :meth:`ground`, with a warning."""
        warnings.warn("locate(image, phrases) is now ground(image, [phrases]).", DeprecationWarning, stacklevel=2)
        return self.ground(image, as_list(phrases))

    def show(self, image: ImageInput, phrases: str | Sequence[str], side: int = 640) -> Any:
        """The old way to :meth:`draw`, with a warning."""
        message = "show(image, phrases) is now draw(image, ground(image, phrases))."
        warnings.warn(message, DeprecationWarning, stacklevel=2)
        return self.draw(image, self.ground(image, as_list(phrases)), side)


__getattr__ = renamed_attributes(__name__, {"Found": Grounding})
