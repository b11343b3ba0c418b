"""X2-VLM base on the 4M data with 40 % of the tokens masked, as the journal version says (III.C, "MLM").

The release masks half of them, 12 at most; 16 is 40 % of the longest text.
"""

from mmengine.config import read_base

with read_base():
    from .x2vlm_base_4m import *

for stream in (streams.image, streams.region):
    stream.collate.masking = dict(prob=0.4, max_masks=16, whole_word=True, span_prob=0.2, max_span=3)
