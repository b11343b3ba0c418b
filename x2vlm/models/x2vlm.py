"""X2-VLM: one model for images, regions, videos and texts.

Shape letters: B pairs, U distinct contexts, F frames, N patches, L tokens, D width, E embed_dim.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from x2vlm.building import build
from x2vlm.data.batch import Batch
from x2vlm.models import encode
from x2vlm.models.build_towers import build_projection, build_towers, objective_arguments
from x2vlm.models.frozen import freeze
from x2vlm.models.fusion.requests import FusedStates, FusionRequest, fuse
from x2vlm.models.layers.attention import check_backend
from x2vlm.models.layers.precision import cast_linears
from x2vlm.models.layers.shape_rounding import check_shapes
from x2vlm.models.layers.tower_layers import layers_of, recompute_activations
from x2vlm.models.needs import EVERYTHING, Needs, Objectives, check_needs, needs_of, objective_factors
from x2vlm.models.objective_contract import (
    check_losses,
    check_protocol,
    keeping_inputs,
    naming_the_objective,
    requests_of,
)
from x2vlm.models.outputs import Context, EncodedBatch, TextStates
from x2vlm.models.pretrained.pretrained_model import PretrainedModel
from x2vlm.models.temperature import clamp_temperature, new_temperature
from x2vlm.models.temporal import new_frame_positions
from x2vlm.registry import MODELS, OBJECTIVES, TEMPORAL_ENCODERS

Part = dict[str, Any] | nn.Module


@MODELS.register_module()
class X2VLM(PretrainedModel):
    """Vision, text and fusion encoders with a set of objectives (arXiv:2211.12402v1, Sec. 3).

    Args:
        vision_encoder: Built or a config: ``images [U, 3, H, W] -> (tokens [U, N, D], summary [U, D] or None)``, with
            ``width`` and ``grid``. It may also take ``masked_patches`` (BEiT-2), and may have ``encode_regions(images,
            owner, mask)`` for encoding regions separately (CLIP ViT). None for texts alone.
        text_encoder: Built or a config: ``(ids [B, L], mask [B, L]) -> [B, L, D]``, with ``width``, ``vocab_size`` and
            ``word_embeddings``. None for images alone.
        fusion_encoder: Built or a config, or None where no text is fused with a context.
        objectives: Objectives by name; a stream names those it trains.
        embed_dim: Size of the space that contexts and texts share; None without a contrastive objective: there are then
            no projections, no features and no temperature, as in the published grounding and answering models.
        temperature: Start value of the softness of similarities; kept in [0.001, 0.5].
        num_frames: Frames a clip may have; 0 leaves out the frame positions (no videos then).
        temporal_encoder: What makes one image of a clip's frames, built or a config: ``(tokens [U, F, N, D], summaries
            [U, F, D]) -> (tokens [U, N', D], summaries [U, D])``, with ``positions``, whether frames get positions
            before. None: their mean, with positions, as published.
        attention: Attention backend of every tower whose config names none.
        activation_checkpointing: Recompute activations in the backward pass: less memory, more time.
        tokenizer: The tokenizer of the texts, from which the size of the vocabulary is derived and checked.
        shapes: Whether sizes that vary from step to step are rounded up to a few: ``auto`` (on a GPU, where every new
            shape costs), ``exact`` or ``rounded``, with the same numbers (``x2vlm.models.layers.shape_rounding``).
        frozen: Names of parts that are not trained and stay in evaluation mode, e.g. ``("vision_encoder",)`` for a
            linear probe.
    """

    takes_several_batches = True  # by stream; what decides whether the streams of a step go through it in one pass

    def __init__(
        self,
        vision_encoder: Part | None,
        text_encoder: Part | None,
        fusion_encoder: Part | None,
        objectives: Mapping[str, Part],
        embed_dim: int | None = 256,
        temperature: float = 0.07,
        num_frames: int = 0,
        attention: str = "auto",
        activation_checkpointing: bool = False,
        tokenizer: Any = None,
        shapes: str = "auto",
        frozen: Sequence[str] = (),
        temporal_encoder: Part | None = None,
    ) -> None:
        super().__init__()
        self.arguments = {
            "vision_encoder": vision_encoder,
            "text_encoder": text_encoder,
            "fusion_encoder": fusion_encoder,
            "objectives": objectives,
            "embed_dim": embed_dim,
            "temperature": temperature,
            "num_frames": num_frames,
            "attention": attention,
            "activation_checkpointing": activation_checkpointing,
            "shapes": shapes,
            "frozen": tuple(frozen),
            "temporal_encoder": temporal_encoder,
        }
        check_backend(attention, "model.attention")
        self.tokenizer, self.shapes = tokenizer, check_shapes(shapes)
        self.activation_checkpointing = activation_checkpointing
        towers = build_towers(vision_encoder, text_encoder, fusion_encoder, tokenizer, attention, shapes)
        self.vision_encoder, self.text_encoder, self.fusion_encoder = towers
        text_width, vision_width = (getattr(one, "width", None) for one in (self.text_encoder, self.vision_encoder))
        self.vision_proj = build_projection(vision_width, embed_dim)
        self.text_proj = build_projection(text_width, embed_dim)
        self.temperature = new_temperature(temperature) if embed_dim else None
        self.num_frames, self.frame_positions = num_frames, None
        temporal = {"type": "MeanOfFrames"} if temporal_encoder is None else temporal_encoder
        if num_frames:
            self.temporal_encoder = build(TEMPORAL_ENCODERS, temporal, "model.temporal_encoder", width=vision_width)
        if num_frames and self.temporal_encoder.positions:
            self.frame_positions = new_frame_positions(num_frames, vision_width)
        derived = objective_arguments(*towers, tokenizer, attention)
        self.objectives = nn.ModuleDict()
        for name, part in objectives.items():
            built = build(OBJECTIVES, part, f"model.objectives.{name}", **derived)
            self.objectives[name] = check_protocol(name, built)
        if activation_checkpointing:
            recompute_activations(self.towers)
        self._frozen = freeze(self, frozen)

    def train(self, mode: bool = True) -> "X2VLM":
        """Training or evaluation mode; frozen parts stay in evaluation mode."""
        super().train(mode)
        for part in self._frozen:
            part.eval()
        return self

    @property
    def device(self) -> torch.device:
        """The device of the weights."""
        return next(self.parameters()).device

    @property
    def towers(self) -> dict[str, nn.Module]:
        """Those of ``vision_encoder``, ``text_encoder`` and ``fusion_encoder`` that are not None."""
        names = ("vision_encoder", "text_encoder", "fusion_encoder")
        return {name: getattr(self, name) for name in names if getattr(self, name) is not None}

    def blocks(self) -> list[nn.Module]:
        """The blocks of all towers."""
        return [block for tower in self.towers.values() for block in layers_of(tower)]

    def clamp_temperature(self) -> None:
        """Bring the temperature back into its range; once per training step, as published."""
        clamp_temperature(self.temperature)

    def forward(
        self,
        batch: Batch | Mapping[str, Batch],
        mode: str = "loss",
        objectives: Objectives | Mapping[str, Objectives] = None,
    ) -> dict[str, Tensor] | EncodedBatch | dict[str, dict[str, Tensor]]:
        """A training step in three phases: the towers, one pass through the fusion encoder, the losses.

        Args:
            batch: The batch; or several by stream, which then go through the towers together.
            mode: ``loss`` or ``encode``.
            objectives: Names (all of the model if none are named), or a factor for each name: the losses of that
                objective are multiplied by it, beside its own ``weight``. For several batches those of each, by stream.

        Returns:
            Losses by name, of several batches by stream; in mode ``encode`` the encoded batch (batches, by stream).

        Raises:
            ValueError: If an objective is unknown, or needs what the batch does not have.
        """
        if mode not in ("loss", "encode"):
            raise ValueError(f"mode '{mode}' is not known. Accepted: encode, loss.")
        if not isinstance(batch, Mapping):
            return self.forward({"": batch}, mode, {"": objectives})[""]  # hooks, as of FSDP, run once
        if mode == "encode":
            return encode.encode_batches(self, batch, dict.fromkeys(batch, EVERYTHING))
        factors = objective_factors(self.objectives, batch, objectives or {})
        with cast_linears(self.blocks() if self.training and not self.activation_checkpointing else ()):
            return self._losses(batch, factors)

    def _losses(
        self, batches: Mapping[str, Batch], factors: Mapping[str, Mapping[str, float]]
    ) -> dict[str, dict[str, Tensor]]:
        # 1. The towers encode what the objectives need, once each.
        needs = {stream: needs_of(self.objectives, names) for stream, names in factors.items()}
        encoded = encode.encode_batches(self, batches, needs)
        # 2. Objectives request which texts are fused with which contexts; one pass serves all requests. Those that
        # learn from texts of the model's own have them written before.
        given, requests = {}, {}
        for stream, names in factors.items():
            for name in names:
                objective, own, where = self.objectives[name], encoded[stream], f"stream '{stream}', objective '{name}'"
                check_needs(name, objective.needs, own)
                sample = getattr(objective, "sample", lambda model, encoded: encoded)
                with naming_the_objective(objective, f"{where}, sample"), keeping_inputs(name, objective, own):
                    given[stream, name] = sample(self, own)
                inputs = keeping_inputs(name, objective, given[stream, name])
                with naming_the_objective(objective, f"{where}, requests"), inputs:
                    requests[stream, name] = requests_of(name, objective, given[stream, name])
        fused = iter(self.read([request for one in requests.values() for request in one]))
        # 3. Losses of what was read, and their factors, here and nowhere else.
        losses: dict[str, dict[str, Tensor]] = {stream: {} for stream in batches}
        for (stream, name), requests_of_objective in requests.items():
            objective, states = self.objectives[name], [next(fused) for _ in requests_of_objective]
            factor = factors[stream][name] * objective.weight
            inputs = keeping_inputs(name, objective, given[stream, name])
            with naming_the_objective(objective, f"stream '{stream}', objective '{name}', losses"), inputs:
                found = objective.losses(given[stream, name], states)
            check_losses(name, objective, found, losses[stream], stream)
            for key, value in found.items():
                losses[stream][key] = factor * value if "loss" in key else value  # a metric has no "loss" in its name
        return losses

    def encode(self, batch: Batch, needs: Needs = EVERYTHING) -> EncodedBatch:
        """The first phase for one batch: encode it with the towers.

        Args:
            batch: The batch.
            needs: The fields to encode; by default texts, contexts and their features.
        """
        return encode.encode_batches(self, {"": batch}, {"": needs})[""]

    def read(self, requests: Sequence[FusionRequest]) -> list[FusedStates]:
        """The second phase: fuse texts with their contexts, all requests in one pass."""
        return fuse(self.fusion_encoder, requests)

    def fuse(self, context: Context | None, text: TextStates, at: Tensor | int | None = None) -> Tensor:
        """Fuse each text with its context, or with nothing where there is none, in a pass of its own.

        Returns:
            ``[B, L, D]``; by ``at`` as in :class:`~x2vlm.models.fusion.requests.FusionRequest`.
        """
        return self.read([FusionRequest(text, context, at=at)])[0].states

    def encode_text(self, text_ids: Tensor, text_mask: Tensor, positions: Tensor | None = None) -> TextStates:
        """``[B, L]`` ids and mask (or ``[B, L, L]``) -> embeddings and features in the shared space.

        All may be in main memory: then no device is waited for. Positions are counted from 0, whatever the text
        encoder's first position is.
        """
        host_mask = text_mask.numpy() if text_mask.dim() == 2 and text_mask.device.type == "cpu" else None
        tensors = (None if tensor is None else tensor.to(self.device) for tensor in (text_ids, text_mask, positions))
        return encode.encode_text(self, encode.TextIds(*tensors, host_mask, has_feature=True))

    def encode_context(self, batch: Batch) -> Context | None:
        """Pixels through the vision encoder, or the other language's sentence; None for plain text."""
        return self.encode(batch, Needs(context=True, features=True)).context

    def encode_pixels(self, pixels: Tensor, masked_patches: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Images or clips through the vision encoder; see :func:`~x2vlm.models.encode.encode_pixels`."""
        return encode.encode_pixels(self, pixels, masked_patches)
