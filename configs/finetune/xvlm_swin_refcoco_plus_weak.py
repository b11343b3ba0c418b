"""X-VLM with Swin base: weakly supervised grounding on RefCOCO+ at 384 pixels, phrases with whole images and no boxes.

Grad-CAM of the fusion encoder's fourth layer scores the proposals of `dets.json` below `data_root`: boxes
`[x, y, width, height]` in pixels by image_id, such as MAttNet's detections. The records of `val.json`, `testA.json` and
`testB.json` have `bbox`, `ref_id` and `image_id`. Published: learning rate 2e-5, 5 epochs, batches of 20 a process,
phrases of an image all match it; images are squeezed, not cropped, and mirrored whatever a phrase says of left and
right; the best epoch is chosen on val.

Raw files in place of these, by data set (docs/public_data.md):

    streams.image: as published
    evaluations.*: as published
"""

from mmengine.config import read_base

with read_base():
    from ..base.finetune import *
    from ..base.refcoco_plus_data import data_root, evaluations, test_pipeline
    from ..base.xvlm_swin_finetune_model import *

model.objectives = dict(
    itc=dict(type="ITC", positives="ids", grad="official"),
    itm=dict(type="ITM", positives="ids"),
)
streams = dict(
    image=dict(
        dataset=dict(
            type="JsonLines",
            ann_file="train.json",
            image_root="images",
            keys=dict(caption="text"),
            pipeline=[
                dict(type="LoadImage"),
                dict(type="PickCaption", max_words=30),
                dict(type="Resize", size=384),
                dict(type="Flip", careful=False),
                dict(type="RandAugment"),
                dict(type="PackSample"),
            ],
        ),
        collate=dict(type="PairCollate", max_tokens=40, masking=None),
        batch_size=20,  # records, of which all pairs are kept
        objectives=("itc", "itm"),
        num_workers=4,
    ),
)
keys = dict(caption="text", bb="bbox", extras=("ref_id", "image_id"))
records = dict(type="JsonLines", image_root="images", keys=keys, pipeline=test_pipeline)
evaluations.val.dataset = dict(records, ann_file="val.json")
evaluations.test_a.dataset = dict(records, ann_file="testA.json")
evaluations.test_b.dataset = dict(records, ann_file="testB.json")
grad_cam = dict(type="GradCamGroundingMetric", layer=3, proposals="dets.json", convention="inclusive")
evaluations.val.metric = grad_cam
evaluations.test_a.metric = grad_cam
evaluations.test_b.metric = grad_cam
keep_best = "val/accuracy_at_0.5"
train_cfg.max_epochs = 5
optim_wrapper.optimizer.lr = 2e-5
