"""NLVR v1 from pixels: drawn scenes with true and false statements, and a small vision encoder for them."""

from plugins.nlvr_shapes.counting_fusion import CountingFusion
from plugins.nlvr_shapes.dataset import NlvrShapes
from plugins.nlvr_shapes.encoder import ConvStemEncoder
from plugins.nlvr_shapes.sentence_groups import NlvrGroups
from plugins.nlvr_shapes.transforms import NarrowStrips, PickStatements
