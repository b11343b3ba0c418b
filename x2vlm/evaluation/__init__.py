"""Metrics: what a model is judged by, each with its protocol and what guessing would give."""

from x2vlm.evaluation.attributes import AttributeMetric
from x2vlm.evaluation.captioning import CaptioningMetric
from x2vlm.evaluation.classification import ClassificationMetric
from x2vlm.evaluation.grounding import GroundingMetric
from x2vlm.evaluation.hard_negatives import HardNegativeMetric
from x2vlm.evaluation.multiple_choice import MultipleChoiceMetric
from x2vlm.evaluation.retrieval import RetrievalMetric
from x2vlm.evaluation.vqa import VQAMetric
from x2vlm.evaluation.winoground import WinogroundMetric
