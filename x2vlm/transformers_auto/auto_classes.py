"""Transformers' ``AutoConfig``, ``AutoModel`` and ``AutoProcessor`` for folders that ``save_pretrained`` wrote.

``import x2vlm.transformers_auto.auto_classes`` registers them::

    import x2vlm.transformers_auto.auto_classes
    from transformers import AutoModel, AutoProcessor

    model, processor = AutoModel.from_pretrained(folder), AutoProcessor.from_pretrained(folder)
    outputs = model(**processor(images=[image], text=["a red car"]))

Shape letters: B images, T texts, P pairs, L tokens, E embed_dim.
"""

from transformers import AutoConfig, AutoModel, AutoProcessor

from x2vlm.models.pretrained.model_folder import MODEL_TYPE
from x2vlm.transformers_auto.auto_config import X2VLMConfig
from x2vlm.transformers_auto.auto_model import X2VLMModel
from x2vlm.transformers_auto.auto_processor import X2VLMProcessor

AutoConfig.register(MODEL_TYPE, X2VLMConfig, exist_ok=True)
AutoModel.register(X2VLMConfig, X2VLMModel, exist_ok=True)
AutoProcessor.register(X2VLMConfig, X2VLMProcessor, exist_ok=True)
