"""Metrics of every task, each with its protocol and a chance or majority baseline."""

from x2vlm.evaluation.tasks.attributes import AttributeMetric
from x2vlm.evaluation.tasks.captioning import CaptioningMetric
from x2vlm.evaluation.tasks.classification_accuracy import ClassificationMetric
from x2vlm.evaluation.tasks.gradcam_grounding import GradCamGroundingMetric
from x2vlm.evaluation.tasks.grounding import GroundingMetric
from x2vlm.evaluation.tasks.hard_negative_accuracy import HardNegativeMetric
from x2vlm.evaluation.tasks.multiple_choice_accuracy import MultipleChoiceMetric
from x2vlm.evaluation.tasks.retrieval import RetrievalMetric
from x2vlm.evaluation.tasks.vqa import VQAMetric
from x2vlm.evaluation.tasks.winoground import WinogroundMetric
