"""Annotation files -> adapters -> transforms -> collate -> Batch. Importing this registers every part."""

from x2vlm.data.augment import RandAugment
from x2vlm.data.base import Adapter, RecordError
from x2vlm.data.batch import BadRecord, Batch, Sample
from x2vlm.data.captioning import CaptionCollate
from x2vlm.data.captions import AllCaptions
from x2vlm.data.choices import PickChoices, PickHardNegatives
from x2vlm.data.classes import AnswerLabel, PickAnswers, PickLabel
from x2vlm.data.clips import SampleFrames
from x2vlm.data.coco import Coco
from x2vlm.data.collate import PairCollate
from x2vlm.data.concat import Concat
from x2vlm.data.hard_negatives import CropToBox, HardNegatives
from x2vlm.data.image_folder import ImageFolder
from x2vlm.data.image_recipe import CenterCrop, MixCollate, RandomErasing, TimmAugment
from x2vlm.data.images import decode_image
from x2vlm.data.jsonlines import JsonLines
from x2vlm.data.nlvr import NlvrV1
from x2vlm.data.patches import MaskPatches
from x2vlm.data.pick import PickCaption, PickPair, PickQuestion, PickText
from x2vlm.data.plain import ParallelText, PlainText
from x2vlm.data.regions import PickPhrases, PickRegions
from x2vlm.data.shards import TarShards
from x2vlm.data.subset import Subset
from x2vlm.data.table import Table
from x2vlm.data.text import bert_vocab, hf_tokenizer
from x2vlm.data.toy import ToyWorld
from x2vlm.data.toy_tasks import ToyPairs, ToyQuestions
from x2vlm.data.transforms import Flip, LoadImage, PackSample, RandomResizedCrop, Resize
from x2vlm.data.video import DecordReader, PyAVReader
from x2vlm.data.video_folder import VideoFolder
from x2vlm.data.webdataset import WebDataset
