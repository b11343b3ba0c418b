"""Without parallel text: captions in English alone."""

from mmengine.config import read_base

with read_base():
    from .cross_lingual import *

streams.pop("parallel")
