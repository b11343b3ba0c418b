"""Objectives: named losses of an encoded batch, independent of the stream."""

from x2vlm.objectives.answer import AnswerGeneration
from x2vlm.objectives.bbox import BBox
from x2vlm.objectives.caption import CaptionGeneration
from x2vlm.objectives.classification import Classification
from x2vlm.objectives.itc import ITC
from x2vlm.objectives.itm import ITM
from x2vlm.objectives.mim import MIM
from x2vlm.objectives.mlm import MLM
from x2vlm.objectives.multiple_choice import MultipleChoice
from x2vlm.objectives.next_token_caption import NextTokenCaption
from x2vlm.objectives.scst import SCST
from x2vlm.objectives.text_mlm import TextMLM
