"""Annotation files -> adapters -> transforms -> collate -> Batch. Importing this registers every component."""

from x2vlm.data.batch import BadRecord, Batch, Sample
from x2vlm.data.collate.caption_collate import CaptionCollate
from x2vlm.data.collate.mixup_collate import MixCollate
from x2vlm.data.collate.pair_collate import PairCollate
from x2vlm.data.datasets.base import Adapter
from x2vlm.data.datasets.concat import Concat
from x2vlm.data.datasets.file_formats.coco import Coco
from x2vlm.data.datasets.file_formats.hf_dataset import HFDataset
from x2vlm.data.datasets.file_formats.image_folder import ImageFolder
from x2vlm.data.datasets.file_formats.image_table import ImageTable
from x2vlm.data.datasets.file_formats.imagenet_archive import ImageNetArchive
from x2vlm.data.datasets.file_formats.jsonl import JsonLines
from x2vlm.data.datasets.file_formats.lines_or_shards import LinesOrShards
from x2vlm.data.datasets.file_formats.parallel_table import ParallelTable
from x2vlm.data.datasets.file_formats.plain_text import ParallelText, PlainText
from x2vlm.data.datasets.file_formats.tables import Table
from x2vlm.data.datasets.file_formats.tar_shards import TarShards
from x2vlm.data.datasets.file_formats.video_folder import VideoFolder
from x2vlm.data.datasets.file_formats.webdataset import WebDataset
from x2vlm.data.datasets.file_formats.wikipedia_text import WikipediaText
from x2vlm.data.datasets.public_captions.caption_lines import CaptionLines
from x2vlm.data.datasets.public_captions.img2dataset import Img2Dataset
from x2vlm.data.datasets.public_captions.karpathy import KarpathySplit
from x2vlm.data.datasets.public_captions.multi30k import Multi30k
from x2vlm.data.datasets.public_captions.web_captions import WebCaptions
from x2vlm.data.datasets.public_captions.wit import Wit
from x2vlm.data.datasets.public_questions.gqa import GqaQuestions, GqaSceneGraphs
from x2vlm.data.datasets.public_questions.hard_negatives import HardNegatives
from x2vlm.data.datasets.public_questions.nlvr2 import Marvl, Nlvr2
from x2vlm.data.datasets.public_questions.nlvr_v1 import NlvrV1
from x2vlm.data.datasets.public_questions.snli_ve import SnliVe
from x2vlm.data.datasets.public_questions.vqa_questions import AOkVqa, VqaQuestions
from x2vlm.data.datasets.public_regions.flickr30k_entities import Flickr30kEntities
from x2vlm.data.datasets.public_regions.open_images import OpenImages
from x2vlm.data.datasets.public_regions.refcoco import RefCoco
from x2vlm.data.datasets.public_regions.visual_genome import VisualGenome, VisualGenomeQuestions
from x2vlm.data.datasets.public_videos.msrvtt import MsrVtt, VideoQuestions
from x2vlm.data.datasets.public_videos.msvd import Msvd
from x2vlm.data.datasets.public_videos.web_videos import HowTo100M, WebVid, YtTemporal
from x2vlm.data.datasets.subset import Subset
from x2vlm.data.io.image_decoding import decode_image
from x2vlm.data.io.video.decord_reader import DecordReader
from x2vlm.data.io.video.pyav_reader import PyAVReader
from x2vlm.data.record import RecordError
from x2vlm.data.tokenizer import bert_vocab, hf_tokenizer
from x2vlm.data.toy.tasks import ToyPairs, ToyQuestions
from x2vlm.data.toy.toy_tokenizer import toy_tokenizer
from x2vlm.data.toy.world import ToyWorld
from x2vlm.data.transforms.answers import AnswerLabel, PickAnswers
from x2vlm.data.transforms.images.classification_transforms import CenterCrop, CropToBox, RandomErasing, TimmAugment
from x2vlm.data.transforms.images.load_crop_flip import Flip, LoadImage, RandomResizedCrop, Resize
from x2vlm.data.transforms.images.patch_masking import MaskPatches
from x2vlm.data.transforms.images.rand_augment import RandAugment
from x2vlm.data.transforms.labels import PickLabel
from x2vlm.data.transforms.pack_sample import PackSample
from x2vlm.data.transforms.regions import PickPhrases, PickRegions, RegionsAsCaptions
from x2vlm.data.transforms.sample_frames import SampleFrames
from x2vlm.data.transforms.texts.answer_choices import PickChoices, PickHardNegatives
from x2vlm.data.transforms.texts.text_transforms import AllCaptions, PickCaption, PickPair, PickQuestion, PickText
