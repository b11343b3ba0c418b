"""X2-VLM base on Multi30K, with nothing exchanged but tokenizer and word embeddings, for those of XLM-R.

The second variant of the journal version's Table VIII. The text encoder's layers stay as English pre-training left
them; `x2vlm_base_multi30k` exchanges the whole encoder.
"""

from mmengine.config import read_base

with read_base():
    from ..base.finetune import *
    from ..base.multi30k_data import *
    from ..base.x2vlm_base_model import *

model.vision_encoder.image_size = 384
model.objectives = objectives
model.text_encoder.word_embeddings = "xlm-roberta-base"
tokenizer = dict(type="HFTokenizer", path="xlm-roberta-base")
loading = dict(skip=("text_encoder.net.embeddings.word_embeddings",))
train_cfg.max_epochs = 10
