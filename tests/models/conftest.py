import pytest
import torch

from x2vlm.data.batch import Batch
from x2vlm.models.needs import EVERYTHING
from x2vlm.models.x2vlm import X2VLM

VOCAB = 30


def tiny_model(**changes):
    parts = dict(
        vision_encoder=dict(type="BEiT2", image_size=16, patch_size=8, width=16, depth=2, num_heads=2),
        text_encoder=dict(
            type="HFTextEncoder",
            config=dict(
                model_type="bert",
                vocab_size=VOCAB,
                hidden_size=8,
                num_hidden_layers=1,
                num_attention_heads=2,
                intermediate_size=16,
                max_position_embeddings=16,
            ),
        ),
        fusion_encoder=dict(type="CrossAttentionFusion", depth=2, num_heads=2, init_std=0.3),
        objectives={name: dict(type=kind) for name, kind in dict(itc="ITC", itm="ITM", mlm="MLM", bbox="BBox").items()},
        embed_dim=8,
        num_frames=3,
    )
    torch.manual_seed(0)
    return X2VLM(**{**parts, **changes}).eval()


def encoded_for(model, batch):
    """The batch, with all that any objective of the model needs."""
    needs = EVERYTHING
    for objective in model.objectives.values():
        needs |= objective.needs
    return model.encode(batch, needs)


def losses_of(model, objective, encoded):
    """What an objective gives for an encoded batch, by itself."""
    objective = model.objectives[objective] if isinstance(objective, str) else objective
    return objective.losses(encoded, model.read(objective.requests(encoded)))


def states_of(model, objective, encoded):
    """The states of the one request of an objective."""
    (fused,) = model.read(model.objectives[objective].requests(encoded))
    return fused.states


def random_texts(count, length=6, seed=0):
    generator = torch.Generator().manual_seed(seed)
    ids = torch.randint(5, VOCAB, (count, length), generator=generator)
    mask = torch.ones(count, length, dtype=torch.bool)
    if count > 1:
        ids[1, length - 2 :] = 0
        mask[1, length - 2 :] = False
    masked = ids.clone()
    masked[:, 2] = 4
    return dict(
        text_ids=ids,
        text_mask=mask,
        masked_ids=masked,
        mlm_positions=torch.full((count, 1), 2),
        mlm_labels=ids[:, 2:3].clone(),
    )


def image_batch(count=4, seed=0, size=16):
    pixels = torch.randn(count, 3, size, size, generator=torch.Generator().manual_seed(seed))
    return Batch(**random_texts(count, seed=seed), pixels=pixels, owner=torch.arange(count), ids=torch.arange(count))


def region_batch():
    batch = image_batch(5)
    batch.pixels, batch.owner = batch.pixels[:2], torch.tensor([0, 1, 0, 1, 0])
    batch.boxes_xyxy = torch.tensor(
        [[0.0, 0.0, 0.5, 0.5], [0.0, 0.0, 1.0, 1.0], [0.5, 0.5, 1.0, 1.0], [0.2, 0.6, 0.4, 0.9], [0.0, 0.0, 1.0, 0.4]]
    )
    batch.has_box = torch.tensor([True, False, True, True, True])
    return batch


@pytest.fixture
def model():
    return tiny_model()
