"""From images, clips and texts to the tensors that a model reads, prepared by its ``Preprocessing``.

Shape letters: B images, F frames, T texts, L tokens.
"""

from collections.abc import Callable, Sequence
from os import PathLike
from typing import Any

import numpy as np
import torch
from torch import Tensor

from x2vlm.data.collate.pair_collate import PairCollate
from x2vlm.data.tokenizer import tokenize
from x2vlm.data.transforms.images.load_crop_flip import LoadImage, Resize
from x2vlm.data.transforms.pack_sample import PackSample
from x2vlm.data.transforms.sample_frames import SampleFrames
from x2vlm.data.transforms.texts.text_cleaning import clean_caption, clean_question, clean_text
from x2vlm.inference.inputs import ImageInput, as_image
from x2vlm.inference.preprocessing import Preprocessing

VideoInput = str | PathLike | Sequence[ImageInput]


class Processor:
    """Prepares images, clips and texts for a model.

    Args:
        tokenizer: The tokenizer of the model's texts.
        settings: How things are prepared.
        urls: Fetch images whose path is an address.
    """

    def __init__(self, tokenizer: Any, settings: Preprocessing, urls: bool = False) -> None:
        self.tokenizer, self.settings, self.urls = tokenizer, settings, urls
        if settings.image_size is not None:
            self._resize = Resize(settings.image_size, settings.resize_backend)
            self._pack = PackSample(settings.mean, settings.std)
        if tokenizer is not None:
            PairCollate(tokenizer, masking=None)  # refuses one without [CLS], [SEP] or padding
        self._clip = SampleFrames(settings.num_frames, training=False) if settings.num_frames else None

    def read(self, image: ImageInput) -> np.ndarray:
        """``[H, W, 3]`` uint8, upright; see :func:`~x2vlm.inference.inputs.as_image`."""
        return as_image(image, self.urls)

    def images(self, images: Sequence[ImageInput]) -> Tensor:
        """``[B, 3, H, W]``, resized and normalised."""
        if self.settings.image_size is None:
            raise ValueError("this model reads texts alone; it takes no images.")
        return torch.stack([self._pixels({"image": self.read(image)}, LoadImage())[0] for image in images])

    def clips(self, videos: Sequence[VideoInput]) -> Tensor:
        """``[B, F, 3, H, W]`` of videos: paths, or sequences of frames, of which ``num_frames`` are taken.

        Raises:
            ValueError: If the model takes no clips.
        """
        if self._clip is None:
            raise ValueError("this model takes no clips: it was built with num_frames=0. Give it an image.")
        return torch.stack([self._pixels({"video": self._video(video)}, self._clip) for video in videos])

    def _video(self, video: VideoInput) -> Any:
        return video if isinstance(video, str | PathLike | bytes) else [self.read(frame) for frame in video]

    def _pixels(self, source: dict[str, Any], load: Callable[[dict], dict]) -> Tensor:
        """``[F, 3, H, W]`` of one record."""
        record = load({"where": "the given input", "id": "input"} | source)
        pixels = self._pack(self._resize(record)).pixels
        return pixels if pixels.dim() == 4 else pixels[None]

    def captions(self, texts: Sequence[str]) -> tuple[Tensor, Tensor]:
        """``[T, L]`` ids and mask of captions or phrases."""
        return self._tokens(texts, clean_caption if self.settings.clean else None, self.settings.max_words)

    def questions(self, texts: Sequence[str]) -> tuple[Tensor, Tensor]:
        """``[T, L]`` ids and mask of questions."""
        clean = clean_question if self.settings.clean else None
        return self._tokens(texts, clean, self.settings.max_question_words)

    def sentences(self, texts: Sequence[str | tuple[str, str]]) -> tuple[Tensor, Tensor]:
        """``[T, L]`` ids and mask of plain sentences, or of pairs of them."""
        clean = clean_text if self.settings.clean_sentences else None
        return self._tokens(texts, clean, None)

    def _tokens(
        self, texts: Sequence[Any], clean: Callable[..., str] | None, max_words: int | None
    ) -> tuple[Tensor, Tensor]:
        if self.tokenizer is None:
            raise ValueError("this model has no tokenizer; it takes no texts.")
        ready = [self._ready(text, number, clean, max_words) for number, text in enumerate(texts)]
        rows = tokenize(self.tokenizer, ready, self.settings.max_tokens)
        length = max(map(len, rows))
        ids = torch.full((len(rows), length), self.tokenizer.pad_token_id, dtype=torch.long)
        mask = torch.zeros(len(rows), length, dtype=torch.bool)
        for row, tokens in enumerate(rows):
            ids[row, : len(tokens)] = torch.tensor(tokens)
            mask[row, : len(tokens)] = True
        return ids, mask

    def _ready(self, text: Any, number: int, clean: Callable[..., str] | None, max_words: int | None) -> Any:
        if isinstance(text, tuple):
            return tuple(self._ready(side, number, clean, max_words) for side in text)
        if not isinstance(text, str):
            raise ValueError(f"text {number} is {type(text).__name__}; expected a string.")
        try:
            if clean is not None:
                return clean(text, max_words)
            words = text.split()[:max_words]
            if not words:
                raise ValueError("it is empty")
            return text.strip() if max_words is None else " ".join(words)
        except ValueError as error:
            raise ValueError(f"text {number} ({text!r:.60}) cannot be read: {error}.") from error
