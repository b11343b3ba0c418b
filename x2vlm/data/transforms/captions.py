"""All captions of a record at once, for evaluations: one picture, its five captions."""

import numpy as np
from mmcv.transforms import BaseTransform

from x2vlm.data.record import Record, RecordError, identity, in_record
from x2vlm.data.tokenizer import clean_caption, every_text, is_blank
from x2vlm.registry import TRANSFORMS


@TRANSFORMS.register_module()
class AllCaptions(BaseTransform):
    """Every caption becomes a text of the record, all with the record's identity, about the whole picture or clip.

    Captions of which nothing is left are left out and counted in ``extras["dropped_texts"]``.

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
            RecordError: If there is no caption (in that language), one is no text, or nothing is left of any.
        """
        if results.get("caption") is None:
            raise RecordError(results["where"], "there is no caption")
        texts = in_record(results, every_text, results["caption"], self.language)
        kept = [ready for text in texts if (ready := self._ready(text))]
        if not kept:
            raise RecordError(results["where"], f"nothing is left of its {len(texts)} captions, e.g. {texts[0]!r:.60}")
        count = len(kept)
        extras = results.get("extras", {}) | {"dropped_texts": len(texts) - count}
        pairs = {"texts": kept, "ids": [identity(results)] * count, "has_box": [False] * count, "extras": extras}
        if "frames" in results:
            height, width = results["frames"][0].shape[:2]
            pairs["boxes_xyxy_px"] = np.tile(np.array([0, 0, width, height], dtype=np.float32), (count, 1))
        return results | pairs

    def _ready(self, text: str) -> str | None:
        """The caption as the model reads it; None if nothing is left."""
        if is_blank(text):
            return None
        if not self.clean:
            return text if self.max_words is None else " ".join(text.split()[: self.max_words])
        try:
            return clean_caption(text, self.max_words)
        except ValueError:  # signs alone
            return None
