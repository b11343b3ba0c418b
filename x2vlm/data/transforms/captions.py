"""All captions of a record at once, for evaluations: one picture, its five captions."""

import numpy as np
from mmcv.transforms import BaseTransform

from x2vlm.data.record import Record, RecordError, identity, in_record
from x2vlm.data.tokenizer import clean_caption, every_text
from x2vlm.registry import TRANSFORMS


@TRANSFORMS.register_module()
class AllCaptions(BaseTransform):
    """Every caption becomes a text of the record, all with the record's identity, about the whole picture or clip.

    Args:
        language: Of captions by language, use this one; None uses all languages.
        max_words: Keep so many words of each; None keeps all. (Published evaluations: 30.)
        clean: Clean up as the published method does; False leaves case and punctuation.
    """

    def __init__(self, language: str | None = None, max_words: int | None = 30, clean: bool = True) -> None:
        self.language = language
        self.max_words = max_words
        self.clean = clean

    def transform(self, results: Record) -> Record:
        """Add ``texts``, ``ids``, ``has_box`` and, where frames are loaded, ``boxes_xyxy_px``.

        Raises:
            RecordError: If there is no caption (in that language), or nothing is left of one.
        """
        if results.get("caption") is None:
            raise RecordError(results["where"], "there is no caption")
        texts = in_record(results, every_text, results["caption"], self.language)
        texts = [in_record(results, self._ready, text) for text in texts]
        count = len(texts)
        pairs = {"texts": texts, "ids": [identity(results)] * count, "has_box": [False] * count}
        if "frames" in results:
            height, width = results["frames"][0].shape[:2]
            pairs["boxes_xyxy_px"] = np.tile(np.array([0, 0, width, height], dtype=np.float32), (count, 1))
        return results | pairs

    def _ready(self, text: str) -> str:
        if self.clean:
            return clean_caption(text, self.max_words)
        return text if self.max_words is None else " ".join(text.split()[: self.max_words])
