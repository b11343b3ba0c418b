"""One model for many people at once: requests wait for each other, and none can take the service down."""

import threading
import time
from collections.abc import Callable
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from x2vlm.data.record import RecordError
from x2vlm.inference.image_index import ImageIndex
from x2vlm.inference.inferencer import Inferencer
from x2vlm.inference.inputs import images_in

MAX_UPLOAD_BYTES = 32 * 2**20
MAX_TEXTS = 100
MAX_TEXT_LENGTH = 1000
MAX_CANDIDATES = 16
MAX_WAITING = 64


class BadRequestError(ValueError):
    """A request that cannot be answered, with a sentence for who asked."""


class BusyError(RuntimeError):
    """Too many requests are waiting."""


class Service:
    """Answers with one model, one request at a time.

    Args:
        inferencer: The model.
        folder: Images that can be searched; None: none can.
        index: Where the features of that folder are kept between starts; None: they are computed at each start.
    """

    def __init__(
        self, inferencer: Inferencer, folder: str | Path | None = None, index: str | Path | None = None
    ) -> None:
        self.inferencer = inferencer
        self.started = time.time()
        self.answered = 0
        self._model = threading.Lock()
        self._counts = threading.Lock()
        self._waiting = 0
        self.index: ImageIndex | None = None
        if folder is not None and "retrieve" in inferencer.tasks:
            self.index = inferencer.index(images_in(folder), keep=index)

    def describe(self) -> dict[str, Any]:
        """What is served."""
        settings = self.inferencer.processor.settings
        return {
            "tasks": list(self.inferencer.tasks),
            "image_size": settings.image_size and list(settings.image_size),
            "clips": bool(settings.num_frames),
            "classes": list(settings.classes),
            "searchable_images": 0 if self.index is None else len(self.index),
            "answered": self.answered,
            "uptime_s": round(time.time() - self.started, 1),
        }

    def ask(self, work: Callable[[Inferencer], Any]) -> Any:
        """What ``work`` does with the model.

        Raises:
            BadRequestError: If the image or the text cannot be used, or the model cannot do it.
            BusyError: If more than ``MAX_WAITING`` requests are waiting.
        """
        with self._in_line(), self._model:
            try:
                result = work(self.inferencer)
            except RecordError as error:
                raise BadRequestError(error.reason) from error
            except ValueError as error:
                raise BadRequestError(str(error)) from error
        with self._counts:
            self.answered += 1
        return result

    def search(self, text: str, k: int = 12) -> list[Any]:
        """The images of the folder that a text describes best."""
        if self.index is None:
            raise BadRequestError("no folder of images was given when this was started: there is nothing to search.")
        checked_texts([text])
        return self.ask(lambda inferencer: self.index.search(inferencer, text, k))

    @contextmanager
    def _in_line(self) -> Any:
        with self._counts:
            if self._waiting >= MAX_WAITING:
                raise BusyError(f"{self._waiting} requests are waiting; try again in a moment.")
            self._waiting += 1
        try:
            yield
        finally:
            with self._counts:
                self._waiting -= 1


def checked_texts(texts: list[str]) -> list[str]:
    """Texts without blank ones.

    Raises:
        BadRequestError: If there are none, too many, or one is too long.
    """
    given = [text.strip() for text in texts if text and text.strip()]
    if not given:
        raise BadRequestError("give one text or more.")
    if len(given) > MAX_TEXTS:
        raise BadRequestError(f"{len(given)} texts are more than the limit of {MAX_TEXTS}.")
    longest = max(map(len, given))
    if longest > MAX_TEXT_LENGTH:
        raise BadRequestError(f"a text has {longest} characters, over the limit of {MAX_TEXT_LENGTH}.")
    return given
