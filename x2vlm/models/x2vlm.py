"""X2-VLM: one model for images, regions, videos and texts, whatever is paired with what.

Shape letters: B pairs, U distinct contexts, F frames, N patches, L tokens, D width, E embed_dim.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from inspect import signature
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
import torch.nn.functional as F
from mmengine.model import BaseModel
from torch import Tensor, nn

from x2vlm.boxes import boxes_to_patch_mask
from x2vlm.building import build
from x2vlm.data.batch import Batch
from x2vlm.models.outputs import Context, EncodedBatch, Reader, TextStates
from x2vlm.models.pretrained import load_pretrained, save_pretrained
from x2vlm.registry import FUSION_ENCODERS, MODELS, OBJECTIVES, TEXT_ENCODERS, VISION_ENCODERS

Part = dict[str, Any] | nn.Module
Objectives = Iterable[str] | Mapping[str, float] | None
TextIds = tuple[Tensor, Tensor, Tensor | None]  # ids, mask, positions


@MODELS.register_module()
class X2VLM(BaseModel):
    """Vision, text and fusion encoders with a set of objectives (arXiv:2211.12402v1, Sec. 3).

    Args:
        vision_encoder: Built or a config: ``images [U, 3, H, W] -> (tokens [U, N, D], summary [U, D] or None)``, with
            ``width`` and ``grid``. It may also take ``masked_patches`` (BEiT-2), and may have ``encode_regions(images,
            owner, mask)`` for reading parts of images on their own (CLIP ViT). None for texts alone.
        text_encoder: Built or a config: ``(ids [B, L], mask [B, L]) -> [B, L, D]``, with ``width``, ``vocab_size`` and
            ``word_embeddings``. None for pictures alone.
        fusion_encoder: Built or a config, or None where no text is read with its context.
        objectives: Objectives by name; a stream names those it wants.
        embed_dim: Size of the space that contexts and texts share; None where nothing compares them: there are then no
            projections, no features and no temperature, as in the published grounding and answering models.
        temperature: Start value of the softness of similarities; kept in [0.001, 0.5].
        num_frames: Frames a clip may have; 0 leaves out the frame positions (no videos then).
        attention: Attention backend of every tower that does not name its own.
        activation_checkpointing: Recompute activations in the backward pass: less memory, more time.
        tokenizer: The tokenizer of the texts, from which the size of the vocabulary is derived and checked.
    """

    temperature_range = (0.001, 0.5)

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
    ) -> None:
        arguments = {name: value for name, value in locals().items() if name not in ("self", "tokenizer", "__class__")}
        super().__init__()
        self.arguments, self.tokenizer, self._fresh = arguments, tokenizer, None
        words = {} if tokenizer is None else {"vocab_size": len(tokenizer), "pad_token_id": tokenizer.pad_token_id}
        self.vision_encoder = self.text_encoder = self.fusion_encoder = None
        if vision_encoder is not None:
            self.vision_encoder = build(VISION_ENCODERS, vision_encoder, "model.vision_encoder", attention=attention)
        if text_encoder is not None:
            self.text_encoder = build(TEXT_ENCODERS, text_encoder, "model.text_encoder", attention=attention, **words)
        text_width, vision_width = (
            getattr(self.text_encoder, "width", None),
            getattr(self.vision_encoder, "width", None),
        )
        if fusion_encoder is not None:
            widths = {"width": text_width, "context_width": vision_width or text_width}
            self.fusion_encoder = build(
                FUSION_ENCODERS, fusion_encoder, "model.fusion_encoder", attention=attention, **widths
            )
        self.vision_proj = nn.Linear(vision_width, embed_dim) if embed_dim and vision_width else None
        self.text_proj = nn.Linear(text_width, embed_dim) if embed_dim and text_width else None
        self.temperature = nn.Parameter(torch.tensor(float(temperature))) if embed_dim else None
        self.frame_positions = None
        if num_frames:
            self.frame_positions = nn.Parameter(
                nn.init.trunc_normal_(torch.empty(1, num_frames, 1, vision_width), std=0.02)
            )
        derived = {
            "width": getattr(self.fusion_encoder, "width", text_width or vision_width),
            "text_width": text_width,
            "context_width": vision_width or text_width,
            "vocab_size": getattr(self.text_encoder, "vocab_size", None),
            "tokenizer": tokenizer,
            "attention": attention,
            "init_from": getattr(self.text_encoder, "source", None),
        }
        self.objectives = nn.ModuleDict(
            {name: build(OBJECTIVES, part, f"model.objectives.{name}", **derived) for name, part in objectives.items()}
        )
        if activation_checkpointing:
            for tower in self.towers.values():
                tower.set_activation_checkpointing(True)

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(self.parameters()).device

    @property
    def towers(self) -> dict[str, nn.Module]:
        """Those of ``vision_encoder``, ``text_encoder`` and ``fusion_encoder`` that there are."""
        names = ("vision_encoder", "text_encoder", "fusion_encoder")
        return {name: getattr(self, name) for name in names if getattr(self, name) is not None}

    @classmethod
    def from_pretrained(cls, folder: str | Path) -> "X2VLM":
        """The model of a folder that :meth:`save_pretrained` wrote, in evaluation mode, with its ``tokenizer``.

        Raises:
            CheckpointError: If a file is missing or damaged, or any tensor does not fit.
            ConfigError: If it cannot be built here (a plugin that is not installed, for example).
        """
        return load_pretrained(folder)

    def save_pretrained(self, folder: str | Path, tokenizer: Any = None) -> None:
        """Write ``config.json``, ``model.safetensors`` and the tokenizer's files, so that any machine can read them.

        Args:
            folder: Is made; files of an earlier model in it are replaced.
            tokenizer: The one the model was built with where not given.

        Raises:
            ConfigError: If a part was given built, or names a file of this machine.
        """
        save_pretrained(self, folder, tokenizer)

    def fresh_parameters(self) -> set[str]:
        """Names of parameters that no checkpoint and no pre-trained tower filled: they learn faster."""
        if self._fresh is not None:
            return set(self._fresh)
        parts = self.towers | {f"objectives.{name}": part for name, part in self.objectives.items()}
        loaded = {f"{name}.{inner}" for name, part in parts.items() for inner in _pretrained_names(part)}
        return {name for name, _ in self.named_parameters()} - loaded

    def set_fresh_parameters(self, names: Iterable[str]) -> None:
        """Say which parameters count as new; loading a checkpoint does."""
        self._fresh = frozenset(names) & {name for name, _ in self.named_parameters()}

    @torch.no_grad()
    def clamp_temperature(self) -> None:
        """Bring the temperature back into its range; once per training step, as published."""
        if self.temperature is not None:
            self.temperature.clamp_(*self.temperature_range)

    def forward(
        self,
        batch: Batch | Mapping[str, Batch],
        mode: str = "loss",
        objectives: Objectives | Mapping[str, Objectives] = None,
    ) -> dict[str, Tensor] | EncodedBatch | dict[str, dict[str, Tensor]]:
        """Encode a batch and, in mode ``loss``, give the losses of the named objectives (all if none are named).

        Args:
            batch: The batch; or several by stream, which then go through the towers together.
            mode: ``loss`` or ``encode``.
            objectives: Names, or a factor for each name: the losses of that objective are multiplied by it, beside its
                own ``weight``. For several batches those of each, by stream.

        Returns:
            Losses by name, of several batches by stream; or the encoded batch (batches, by stream).

        Raises:
            ValueError: If an objective is unknown, or needs what the batch does not have.
        """
        if mode not in ("loss", "encode"):
            raise ValueError(f"mode '{mode}' is not known. Accepted: encode, loss.")
        if not isinstance(batch, Mapping):
            return self.forward({"": batch}, mode, {"": objectives})[""]  # hooks, as of FSDP, run once
        used = {stream: self._chosen((objectives or {}).get(stream)) for stream in batch}
        if mode == "loss":
            for stream, names in used.items():
                for name in names:
                    _check_requirements(name, self.objectives[name], SimpleNamespace(batch=batch[stream]), "batch.")
        encoded = self.encode_together(batch, {} if mode == "encode" else used)
        return encoded if mode == "encode" else self._losses(encoded, used)

    def _chosen(self, objectives: Objectives) -> dict[str, float]:
        """Factors of objectives by name."""
        names = list(self.objectives if objectives is None else objectives)
        for name in names:
            if name not in self.objectives:
                raise ValueError(f"'{name}' is not one of this model's objectives: {', '.join(self.objectives)}.")
        return {name: objectives[name] if isinstance(objectives, Mapping) else 1.0 for name in names}

    def _losses(
        self, encoded: Mapping[str, EncodedBatch], used: Mapping[str, Mapping[str, float]]
    ) -> dict[str, dict[str, Tensor]]:
        """First every objective says what it wants read, then all of it is read at once, then the losses are taken."""
        asked: dict[tuple[str, str], Any] = {}
        for stream, names in used.items():
            for name in names:
                objective = self.objectives[name]
                _check_requirements(name, objective, encoded[stream])
                if hasattr(objective, "ask"):
                    asked[stream, name] = objective.ask(encoded[stream])
        losses: dict[str, dict[str, Tensor]] = {stream: {} for stream in used}
        for stream, names in used.items():
            for name, factor in names.items():
                objective = self.objectives[name]
                given = (asked[stream, name],) if (stream, name) in asked else ()
                weight = factor * getattr(objective, "weight", 1.0)  # of losses: a metric never has "loss" in its name
                for key, value in objective(encoded[stream], *given).items():
                    losses[stream][key] = weight * value if "loss" in key else value
        return losses

    def encode(self, batch: Batch) -> EncodedBatch:
        """Every tower but the fusion encoder, which the objectives call with what they pair.

        The text encoder runs when ``text`` or ``masked_text`` of what is returned is first read, and not at all where
        nobody does.
        """
        return self.encode_together({"": batch}, {})[""]

    def encode_together(
        self, batches: Mapping[str, Batch], used: Mapping[str, Iterable[str]]
    ) -> dict[str, EncodedBatch]:
        """Several batches through every tower but the fusion encoder: pictures of one size in one pass, texts too.

        Args:
            batches: By stream.
            used: Names of the objectives of each, from which it follows what is going to be read: plain texts, masked
                ones or both go through the text encoder in one pass. What is read unannounced is encoded by itself.
        """
        reader, texts = Reader(self.fusion_encoder), TextsTogether(self.encode_texts)
        for stream, batch in batches.items():
            needs = {path for name in used.get(stream, ()) for path in getattr(self.objectives[name], "requires", ())}
            if self.text_encoder is None:
                continue
            if any(path.startswith("text.") for path in needs):
                texts.announce((stream, "text"), _plain_ids(batch))
            if "batch.masked_ids" in needs:
                texts.announce((stream, "masked"), _masked_ids(batch))
        # Texts before pictures, so that the backward pass comes to pictures first: it frees what they keep, which is
        # most, before it makes the gradients of the text encoder.
        texts.encode_announced()
        contexts = self._contexts_together(batches)
        words = None if self.text_encoder is None else self.text_encoder.word_embeddings
        return {
            stream: EncodedBatch(
                batch=batch,
                text=partial(self._view, texts, (stream, "text"), _plain_ids(batch)),
                masked_text=partial(self._view, texts, (stream, "masked"), _masked_ids(batch)),
                context=contexts[stream],
                temperature=self.temperature,
                word_embeddings=words,
                encode_text=self.encode_text,
                reader=reader,
                encode_pixels=self.encode_pixels,
            )
            for stream, batch in batches.items()
        }

    def _view(self, texts: "TextsTogether", key: tuple[str, str], ids: TextIds | None) -> TextStates | None:
        return None if self.text_encoder is None or ids is None else texts.view(key, ids)

    def encode_text(self, text_ids: Tensor, text_mask: Tensor, positions: Tensor | None = None) -> TextStates:
        """``[B, L]`` ids and mask (or ``[B, L, L]``) -> embeddings and features in the shared space.

        Positions are counted from 0, whatever the text encoder counts from.
        """
        first = getattr(self.text_encoder, "first_position", 0)
        embeds = self.text_encoder(
            text_ids, text_mask, **({} if positions is None else {"positions": positions + first})
        )
        return TextStates(embeds, text_mask, _feature(self.text_proj, embeds[:, 0]))

    def encode_texts(self, texts: Sequence[TextIds]) -> list[TextStates]:
        """Several batches of texts, in one pass where each token may look at all of its text."""
        if len(texts) == 1 or any(mask.dim() == 3 or positions is not None for _, mask, positions in texts):
            return [self.encode_text(*each) for each in texts]
        lengths = [ids.shape[1] for ids, _, _ in texts]
        pad = getattr(self.text_encoder, "pad_token_id", 0)
        ids = [F.pad(one, (0, max(lengths) - one.shape[1]), value=pad) for one, _, _ in texts]
        masks = [F.pad(mask, (0, max(lengths) - mask.shape[1]), value=False) for _, mask, _ in texts]
        view = self.encode_text(torch.cat(ids), torch.cat(masks))
        counts = [len(one) for one in ids]
        feats = [None] * len(texts) if view.feat is None else view.feat.split(counts)
        return [
            TextStates(embeds[:, :length], mask, feat)
            for embeds, length, (_, mask, _), feat in zip(view.embeds.split(counts), lengths, texts, feats, strict=True)
        ]

    def _contexts_together(self, batches: Mapping[str, Batch]) -> dict[str, Context | None]:
        """Pictures of several batches in one pass, where they have one size; anything else batch by batch."""
        sizes: dict[tuple[int, ...], list[str]] = {}
        for stream, batch in batches.items():
            if batch.pixels is not None and batch.pixels.dim() == 4 and not self._reads_regions_alone(batch):
                sizes.setdefault(batch.pixels.shape[1:], []).append(stream)
        encoded: dict[str, tuple[Tensor, Tensor]] = {}
        for streams in sizes.values():
            if self.vision_encoder is not None and len(streams) > 1:
                pixels = [batches[stream].pixels for stream in streams]
                parts = (part.split([len(one) for one in pixels]) for part in self.encode_pixels(torch.cat(pixels)))
                encoded |= dict(zip(streams, zip(*parts, strict=True), strict=True))
        return {stream: self.encode_context(batch, encoded.get(stream)) for stream, batch in batches.items()}

    def encode_context(self, batch: Batch, encoded: tuple[Tensor, Tensor] | None = None) -> Context | None:
        """Pixels through the vision encoder, or the other language's sentence; None for plain text.

        Args:
            batch: The batch.
            encoded: What :meth:`encode_pixels` gives for its pixels, if that is at hand.
        """
        if batch.pixels is not None and self.vision_encoder is not None:
            return self._visual_context(batch, encoded)
        if batch.context_ids is not None:
            return self._sentence_context(batch)
        return None

    def encode_pixels(self, pixels: Tensor, masked_patches: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Images ``[U, 3, H, W]`` or clips ``[U, F, 3, H, W]`` -> tokens ``[U, N, D]`` and summaries ``[U, D]``.

        A clip is the mean over its frames of patches plus frame position (arXiv:2211.12402v1, Sec. 3.2, "Video
        Representation"), so it looks like one image.

        Args:
            pixels: Images or clips.
            masked_patches: ``[U, N]`` bool, patches of images that the vision encoder is not to see.

        Raises:
            ValueError: If a clip has more frames than ``num_frames``, or patches cannot be masked.
        """
        if masked_patches is not None:
            tokens, summary = self._encode_masked(pixels, masked_patches)
            return tokens, tokens.mean(dim=1) if summary is None else summary
        if pixels.dim() == 4:
            tokens, summary = self.vision_encoder(pixels)
            return tokens, tokens.mean(dim=1) if summary is None else summary
        clips, frames = pixels.shape[:2]
        if self.frame_positions is None or frames > self.frame_positions.shape[1]:
            allowed = 0 if self.frame_positions is None else self.frame_positions.shape[1]
            raise ValueError(f"a clip has {frames} frames but model.num_frames is {allowed}. Raise model.num_frames.")
        positions = self.frame_positions[:, :frames]
        tokens, summary = self.vision_encoder(pixels.flatten(0, 1))
        tokens = (tokens.unflatten(0, (clips, frames)) + positions).mean(dim=1)
        if summary is None:
            return tokens, tokens.mean(dim=1)
        return tokens, (summary.unflatten(0, (clips, frames)) + positions[:, :, 0]).mean(dim=1)

    def _encode_masked(self, pixels: Tensor, masked_patches: Tensor) -> tuple[Tensor, Tensor | None]:
        if pixels.dim() != 4:
            raise ValueError(
                "patches of clips cannot be masked, only those of images. Take 'mim' from the video stream."
            )
        if "masked_patches" not in signature(self.vision_encoder.forward).parameters:
            raise ValueError(
                f"{type(self.vision_encoder).__name__} cannot mask patches: its forward takes no masked_patches. "
                "Use BEiT2(mask_token=True)."
            )
        return self.vision_encoder(pixels, masked_patches=masked_patches)

    def _reads_regions_alone(self, batch: Batch) -> bool:
        has_parts = batch.patch_mask is not None or batch.boxes_xyxy is not None
        return has_parts and batch.pixels.dim() == 4 and hasattr(self.vision_encoder, "encode_regions")

    def _visual_context(self, batch: Batch, encoded: tuple[Tensor, Tensor] | None) -> Context:
        owner, mask = batch.owner, batch.patch_mask
        if mask is None and batch.boxes_xyxy is not None:
            mask = boxes_to_patch_mask(batch.boxes_xyxy, self.vision_encoder.grid)
        if self._reads_regions_alone(batch):
            return self._context_with_regions(batch.pixels, owner, mask)
        tokens, summaries = self.encode_pixels(batch.pixels) if encoded is None else encoded
        whole = mask is None
        if whole:
            mask = tokens.new_ones(len(owner), tokens.shape[1], dtype=torch.bool)
            part, feat = summaries[owner], _feature(self.vision_proj, summaries)
            feat = None if feat is None else feat[owner]
        else:
            sees_all = mask.all(dim=1, keepdim=True)
            part = torch.where(sees_all, summaries[owner], mean_of_parts(tokens, owner, mask))
            feat = _feature(self.vision_proj, part)
        return Context(tokens, owner, mask, part, feat, summaries, sees_whole=whole)

    def _context_with_regions(self, pixels: Tensor, owner: Tensor, mask: Tensor) -> Context:
        """Parts of images have tokens of their own, behind those of the images; pairs that see all share the latter."""
        parts = (~mask.all(dim=1)).nonzero().squeeze(1)
        tokens, summaries = self.vision_encoder.encode_regions(pixels, owner[parts], mask[parts])
        place = owner.clone()
        place[parts] = len(pixels) + torch.arange(len(parts), device=owner.device)
        summary = summaries[place]
        return Context(tokens, place, mask, summary, _feature(self.vision_proj, summary), summaries, owner)

    def _sentence_context(self, batch: Batch) -> Context:
        # CCLM (arXiv:2206.00621): the sentence takes the place of the image, [CLS] that of the summary.
        view = self.encode_text(batch.context_ids, batch.context_text_mask)
        owner = batch.owner
        feat = None if view.feat is None else view.feat[owner]
        summaries = view.embeds[:, 0]
        masks = view.mask[:, 1:]
        return Context(
            view.embeds[:, 1:], owner, masks[owner], summaries[owner], feat, summaries, sees_whole=True, masks=masks
        )


def mean_of_parts(tokens: Tensor, owner: Tensor, mask: Tensor) -> Tensor:
    """Mean of each pair's own patches, without copying patches per pair.

    Args:
        tokens: ``[U, N, D]``.
        owner: ``[B]`` long.
        mask: ``[B, N]`` bool, at least one True a row.

    Returns:
        ``[B, D]``.
    """
    weights = mask.to(tokens.dtype) / mask.sum(dim=1, keepdim=True)
    belongs = nn.functional.one_hot(owner, len(tokens)).to(tokens.dtype)
    return torch.einsum("bu,bn->bun", belongs, weights).flatten(1) @ tokens.flatten(0, 1)


class TextsTogether:
    """Texts that are going to be read, in one pass, and others when they are read.

    Args:
        encode: ``[(ids, mask, positions), ...] -> [TextStates, ...]``.
    """

    def __init__(self, encode: Callable[[Sequence[TextIds]], list[TextStates]]) -> None:
        self.encode = encode
        self.announced: dict[Any, TextIds] = {}
        self.views: dict[Any, TextStates] = {}

    def announce(self, key: Any, ids: TextIds | None) -> None:
        """Say that these texts are going to be read."""
        if ids is not None:
            self.announced[key] = ids

    def encode_announced(self) -> None:
        """Encode all that were announced, in one pass."""
        if self.announced:
            self.views |= dict(zip(self.announced, self.encode(list(self.announced.values())), strict=True))

    def view(self, key: Any, ids: TextIds) -> TextStates:
        """The encoded texts; those that were not announced by themselves."""
        if key not in self.views:
            self.views[key] = self.encode([ids])[0]
        return self.views[key]


def _plain_ids(batch: Batch) -> TextIds | None:
    return None if batch.text_ids is None else (batch.text_ids, batch.text_mask, None)


def _masked_ids(batch: Batch) -> TextIds | None:
    if batch.masked_ids is None:
        return None
    if batch.masked_mask is not None:
        return batch.masked_ids, batch.masked_mask, batch.masked_text_positions
    is_parallel = batch.context_ids is not None and batch.pixels is None
    return batch.masked_ids, batch.context_text_mask[batch.owner] if is_parallel else batch.text_mask, None


def _feature(projection: nn.Module | None, summary: Tensor) -> Tensor | None:
    """``[B, D]`` -> ``[B, E]`` in the shared space, if there is one."""
    return None if projection is None else nn.functional.normalize(projection(summary), dim=-1)


def _pretrained_names(part: nn.Module) -> set[str]:
    names = getattr(part, "pretrained_names", None)
    return names() if callable(names) else set()


def _check_requirements(name: str, objective: nn.Module, encoded: Any, start: str = "") -> None:
    """Name what an objective needs and a stream does not give, before a None fails somewhere inside.

    Args:
        name: Of the objective.
        objective: The objective.
        encoded: What has it: an encoded batch, or something with a ``batch``.
        start: Only what begins so is looked at.
    """
    for path in (path for path in getattr(objective, "requires", ()) if path.startswith(start)):
        value: Any = encoded
        for attribute in path.split("."):
            value = getattr(value, attribute)
            if value is None:
                records = ", ".join(encoded.batch.where[:2]) or "this batch"
                raise ValueError(
                    f"objective '{name}' needs {path}, but {records} (and so on) give no {attribute}. "
                    f"Remove '{name}' from the stream's objectives, or give the stream what it needs."
                )
