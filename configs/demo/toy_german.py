"""The demo's model learns another language: a new text encoder with other words beside the images it knows.

python tools/train.py configs/demo/toy_pretrain.py --work-dir work_dirs/toy
python tools/train.py configs/demo/toy_german.py --cfg-options load_from=work_dirs/toy/iter_1400.pth
"""

from mmengine.config import read_base

with read_base():
    from .toy_pretrain import *

german = (
    "bewegt blauem blauen blauer blaues da der dreieck ein einem gelbem gelben gelber gelbes großem großen großer "
    "großes grunem grunen gruner grunes hier in ist kleinem kleinen kleiner kleines kreis kreuz links mitte nach "
    "oben orangefarbenem orangefarbenen orangefarbener orangefarbenes quadrat rechts ring rotem roten roter rotes "
    "schwarzem schwarzen schwarzer schwarzes sich steht stern still uber und unten unter violettem violetten "
    "violetter violettes von weißem weißen weißer weißes ,"
)
tokenizer = dict(type="BertVocab", vocab=german.split())
# The words are new, and so is the head that guesses them.
loading = dict(skip=("text_encoder", "objectives.mlm"))
for part in (*streams.values(), *evaluations.values()):
    part.dataset.languages = ("de",)
train_cfg.max_iters = 400
train_cfg.val_interval = 100
# Steps of the size with which docs/results.md was measured; the demo makes smaller ones.
optim_wrapper.optimizer.lr = 2e-3
streams.image.batch_size = 24
streams.region.batch_size = 64
streams.region.max_images = 16  # records (images); batch_size counts pairs
streams.video.batch_size = 4
