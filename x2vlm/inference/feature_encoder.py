"""A loaded model with its preprocessing: features of images and texts, and which tasks the model can serve.

Shape letters: B images, T texts, E embed_dim.
"""

from collections.abc import Sequence
from os import PathLike
from typing import Any

import torch
from mmengine.config import Config
from torch import Tensor

from x2vlm.data.batch import Batch
from x2vlm.inference.inputs import VIDEO_ENDINGS, ImageInput, is_many
from x2vlm.inference.model_tasks import check_finite_weights, tasks_of
from x2vlm.inference.preprocessing import Preprocessing
from x2vlm.inference.processor import Processor, VideoInput
from x2vlm.inference.trained_model import open_model
from x2vlm.models.eval_mode import eval_mode
from x2vlm.models.outputs import Context
from x2vlm.models.pretrained.hub_repository import local_folder

Images = ImageInput | Sequence[ImageInput]
Videos = VideoInput | Sequence[VideoInput]


class FeatureEncoder:
    """A model with its preprocessing: loaded from files, and encoding images and texts into the shared space.

    Args:
        model: The model, on the device where it is to compute.
        tokenizer: Of its texts; the model's own if not given.
        preprocessing: How images and texts are prepared; what the model carries if not given.
        urls: Fetch images whose path is an address. Off: such a path is refused.
        chunk: Images, or texts, that go through the model at once.

    Raises:
        ValueError: If a weight of the model is not finite.
    """

    def __init__(
        self,
        model: Any,
        tokenizer: Any = None,
        preprocessing: Preprocessing | None = None,
        urls: bool = False,
        chunk: int = 64,
    ) -> None:
        check_finite_weights(model)
        self.model, self.chunk = model.eval(), chunk
        tokenizer = tokenizer if tokenizer is not None else getattr(model, "tokenizer", None)
        self.processor = Processor(tokenizer, preprocessing or Preprocessing.of_model(model), urls)

    @classmethod
    def from_pretrained(
        cls, folder: str | PathLike, device: str | torch.device = "cpu", **options: Any
    ) -> "FeatureEncoder":
        """The model of a folder that ``save_pretrained`` wrote, or of a repository ``owner/name`` on the hub."""
        return cls.from_checkpoint(local_folder(folder), None, device=device, **options)

    @classmethod
    def from_checkpoint(
        cls,
        model: str | PathLike | Config,
        checkpoint: str | PathLike | None = None,
        evaluation: str | None = None,
        device: str | torch.device = "cpu",
        **options: Any,
    ) -> "FeatureEncoder":
        """The model of a config with the weights of a checkpoint. No data has to be there.

        Args:
            model: A config, its file, or a model folder (then without ``checkpoint``).
            checkpoint: What training with that config wrote.
            evaluation: Whose preparation of images and texts to use, by its name in ``evaluations``; None takes, for
                each setting, the first evaluation that has it.
            device: Where to compute.
            options: ``urls`` and ``chunk``.

        Raises:
            ConfigError: If the config cannot work, or has no such evaluation.
            CheckpointError: If there is no such checkpoint or folder, or it is of another model.
        """
        net, tokenizer, preprocessing = open_model(model, checkpoint, evaluation)
        return cls(net.to(device), tokenizer, preprocessing, **options)

    @property
    def tasks(self) -> tuple[str, ...]:
        """Names of the methods that this model can serve."""
        return tasks_of(self.model)

    def encode_image(self, image: Images | None = None, video: Videos | None = None) -> Tensor:
        """Features in the shared space, L2-normalised: ``[E]`` of one image or clip, ``[B, E]`` of a list."""
        self.check_task("encode_image")
        many, pixels = self._pixels(image, video)
        with eval_mode(self.model):
            feats = torch.cat([self._context(part).feat.float().cpu() for part in pixels.split(self.chunk)])
        return feats if many else feats[0]

    def encode_text(self, texts: str | Sequence[str]) -> Tensor:
        """Features in the shared space, L2-normalised: ``[E]`` of one text, ``[T, E]`` of a list."""
        self.check_task("encode_text")
        ids, mask = self.processor.captions(as_list(texts))
        with eval_mode(self.model):
            parts = zip(ids.split(self.chunk), mask.split(self.chunk), strict=True)
            feats = torch.cat([self.model.encode_text(*part).feat.float().cpu() for part in parts])
        return feats[0] if isinstance(texts, str) else feats

    def check_task(self, task: str) -> None:
        """Refuse a task that the model cannot serve.

        Raises:
            ValueError: If it is not in ``tasks``.
        """
        if task not in self.tasks:
            has = ", ".join(self.model.objectives) or "none"
            raise ValueError(
                f"this model cannot {task}: its objectives are {has}. It can: {', '.join(self.tasks) or 'nothing'}."
            )

    def _pixels(self, images: Any, video: Any) -> tuple[bool, Tensor]:
        """Whether several were given, and the pixels of all."""
        if (images is None) == (video is None):
            raise ValueError("give images, or clips as video=..., and not both.")
        if video is not None:
            many = many_clips(video)
            return many, self.processor.clips(list(video) if many else [video])
        many = is_many(images)
        if many and not images:
            raise ValueError("the list of images is empty.")
        return many, self.processor.images(images if many else [images])

    def _context(self, pixels: Tensor) -> Context:
        return self.model.encode_context(self._batch(pixels))

    def _batch(self, pixels: Tensor, tokens: tuple[Tensor, Tensor] | None = None) -> Batch:
        """Every image with itself; or one image with every text."""
        ids, mask = tokens or (None, None)
        owner = torch.arange(len(pixels)) if ids is None else torch.zeros(len(ids), dtype=torch.long)
        return Batch(text_ids=ids, text_mask=mask, pixels=pixels, owner=owner).to(self.model.device)


def as_list(texts: str | Sequence[str]) -> list[str]:
    """One text as a list of one.

    Raises:
        ValueError: If there is none.
    """
    given = [texts] if isinstance(texts, str) else list(texts)
    if not given:
        raise ValueError("give one text, or a list of one or more.")
    return given


def many_clips(video: Any) -> bool:
    """A list of paths, or of lists of frames, is several clips; a list of images is one."""
    if not is_many(video):
        return False
    if not video:
        raise ValueError("the list of clips is empty.")
    first = video[0]
    if is_many(first):
        return True
    return isinstance(first, str | PathLike) and str(first).lower().endswith(VIDEO_ENDINGS)
