"""The raw sets of the 1B list: those of 4M, CC12M, LAION, the boxes of OpenImages and Objects365, and the videos.

LAION is downloaded with img2dataset; to share the work, name parts of it as sets of their own (`laion/0*.parquet`).
"""

from mmengine.config import read_base

with read_base():
    from .raw_4m import *

raw_sets.cc12m = dict(
    out="images/cc12m",
    dataset=dict(
        type="WebCaptions",
        ann_file="cc12m/cc12m.tsv",
        downloads="cc12m/images",
        order="url caption",
        file_pattern="{:09d}.jpg",
    ),
    named_by="web",
    published=dict(images=11_100_000, captions=11_100_000),
)
raw_sets.openimages = dict(
    out="regions/openimages",
    dataset=dict(
        type="OpenImages",
        boxes_file="openimages/oidv6-train-annotations-bbox.csv",
        classes_file="openimages/class-descriptions-boxable.csv",
        image_root="openimages/train",
    ),
    named_by="openimages",
    published=dict(images=1_700_000, objects=4_200_000),
)
raw_sets.objects365 = dict(
    out="regions/objects365",
    dataset=dict(
        type="Coco",
        image_root="objects365/train",
        instances_file="objects365/zhiyuan_objv2_train.json",
        require=("boxes",),
    ),
    published=dict(images=580_000, objects=2_000_000),
)
raw_sets.laion = dict(
    out="images_noisy/laion",
    dataset=dict(type="Img2Dataset", shards="laion/*.parquet", where_columns=dict(similarity=0.3)),
    named_by="web",
    published=dict(images=1_300_000_000, captions=1_300_000_000),
)
raw_sets.webvid = dict(
    out="videos/webvid",
    dataset=dict(type="WebVid", ann_file="webvid/results_2M_train.csv", video_root="webvid/videos"),
    published=dict(images=2_500_000, captions=2_500_000),
)
raw_sets.howto100m = dict(
    out="videos/howto100m",
    dataset=dict(type="HowTo100M", captions_file="howto100m/caption.json", video_root="howto100m/videos"),
    published=dict(images=1_700_000, captions=1_700_000),
)
raw_sets.yttemporal = dict(
    out="videos/yttemporal",
    dataset=dict(type="YtTemporal", ann_file="yttemporal/*.jsonl", video_root="yttemporal/videos"),
    published=dict(images=5_300_000, captions=5_300_000),
)

held_out_sets.msrvtt = dict(
    dataset=dict(
        type="MsrVtt",
        ann_file="msrvtt/MSRVTT_data.json",
        video_root="msrvtt/videos/all",
        videos="msrvtt/MSRVTT_JSFUSION_test.csv",
    )
)
held_out_sets.msvd = dict(
    dataset=dict(
        type="Msvd",
        captions_file="msvd/AllVideoDescriptions.txt",
        video_root="msvd/YouTubeClips",
        videos="msvd/test_list.txt",
    )
)
held_out_sets.next_qa = dict(dataset=dict(type="VideoFolder", root="next_qa/test"))

same_images.openimages = "openimages/train-images-boxable-with-rotation.csv"
