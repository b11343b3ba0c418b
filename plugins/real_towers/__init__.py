"""Towers with real weights from two small packages; importing this registers them and loads nothing."""

from plugins.real_towers.frozen_vision import FrozenEfficientNetLite
from plugins.real_towers.stored_features import LoadFeatures, PackFeatures
from plugins.real_towers.text import MiniLM, MiniLMFusion, minilm_tokenizer
from plugins.real_towers.vision import EfficientNetLite0
