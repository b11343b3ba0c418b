"""The published classes, called *kinds* (``XVLM``, ``XVLMForRetrieval``, ...), and how each names its parts."""

from dataclasses import dataclass

from x2vlm.building import suggestion
from x2vlm.weights.checkpoint_file import CheckpointError


@dataclass(frozen=True)
class Kind:
    """How a published class names its parts.

    Attributes:
        text: What stands before the text encoder's ``embeddings`` and ``encoder``.
        fusion: The same for the fusion encoder; None where it is the upper layers of the text encoder.
        words: What stands before the parts of the head that predicts masked words (or captions).
        task: Name of the objective that has this head here.
        vision: What stands before the vision encoder's names; None: nothing else is in the class.
    """

    text: str = "text_encoder."
    fusion: str | None = None
    words: str = "text_encoder.cls.predictions."
    task: str = "mlm"
    vision: str = "vision_encoder."


MULTILINGUAL = Kind(fusion="cross_encoder.", words="mlm_head.predictions.")
KINDS = {
    "XVLM": Kind(text="text_encoder.bert."),
    "XVLMForRetrieval": Kind(),
    "XVLMForGrounding": Kind(),
    "XVLMForVQA": Kind(),
    "XVLMForMLMCaptioning": Kind(text="text_encoder.bert.", task="caption"),
    "XVLMForNLVR": Kind(),
    "XVLMForVQAClassification": Kind(),
    "XVLMForClassification": Kind(),
    "CrossViewLM": MULTILINGUAL,
    "XVLMPlus": MULTILINGUAL,
    "XFM": Kind(text="text_encoder.roberta.", fusion="fusion_encoder.roberta.", words="fusion_encoder.lm_head."),
    "CLIPVisionTransformer": Kind(vision=""),
    "SwinTransformer": Kind(vision=""),
}


def check_kind(kind: str) -> str:
    """The name itself, if it is that of a published class.

    Raises:
        CheckpointError: If it is not.
    """
    if kind not in KINDS:
        raise CheckpointError(
            f"there is no published class {kind!r}.{suggestion(kind, KINDS)} Known: {', '.join(KINDS)}."
        )
    return kind
