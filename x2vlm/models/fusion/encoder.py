"""The fusion encoder: self-attention over a text, cross-attention to its context, layer by layer.

Keys and values of a context's tokens depend on the context alone. They are projected once per distinct image and layer,
and reused by every text that attends to the image.

Shape letters: B pairs, U distinct contexts, N tokens of a context, L tokens of a text, D width, H heads.
"""

from collections.abc import Sequence

from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from x2vlm.models.fusion.fusion_plan import FusionPlan
from x2vlm.models.fusion.layer import FusionLayer
from x2vlm.models.fusion.requests import FusionRequest
from x2vlm.models.layers.attention import KeyValue
from x2vlm.models.layers.drop_path import linear_rates
from x2vlm.models.layers.shape_rounding import check_shapes, ladder_of
from x2vlm.models.outputs import Context, TextStates
from x2vlm.registry import FUSION_ENCODERS
from x2vlm.weights.checkpoint_file import CheckpointError
from x2vlm.weights.tower_weights import choose_layers, fusion_tensors, read_bert


@FUSION_ENCODERS.register_module()
class CrossAttentionFusion(nn.Module):
    """The published fusion encoder: BERT layers with cross-attention after self-attention, post-norm.

    X2-VLM (arXiv:2211.12402v1, Sec. 3.1): text features are fused with vision features at each layer.

    Args:
        width: Width of texts and of this encoder.
        context_width: Width of the context's tokens; keys and values are projected from it.
        depth: Number of layers.
        num_heads: Attention heads; derived as one per 64 of width where not given.
        mlp_width: Width of the feed-forward layer; four times ``width`` where not given.
        dropout: Probability, in training, for hidden states and for attention weights.
        layer_norm_eps: Epsilon of the layer norms.
        init_std: Standard deviation of fresh weights. BERT's 0.02 suits widths near 768; narrow encoders want more.
        init_from: Folder or name of a BERT (or RoBERTa) whose upper ``depth`` layers are copied (self-attention and
            feed-forward; cross-attention stays new). Width, heads and feed-forward must agree with it.
        init_layers: Layers of ``init_from`` to use, before the upper ones are taken: ``range(1, 24, 2)`` makes the
            12 layers of the published large models out of BERT-large. All where not given.
        detach_text: Send no gradient from here into the text encoder, which then learns from the contrastive loss and
            its own masked words only (X-FM, arXiv:2301.05065).
        drop_path: Stochastic depth of the last layer; earlier layers linearly less, the first one none. Where it is
            not 0 it takes the place of dropout of hidden states; that of attention weights stays.
        drop_path_unit: ``samples``, or ``positions`` as published; see
            :class:`~x2vlm.models.layers.drop_path.DropPath`.
        attention: Attention backend.
        shapes: Whether numbers of tokens and texts are rounded up to a few sizes; see
            :func:`~x2vlm.models.layers.shape_rounding.ladder_of`.
    """

    def __init__(
        self,
        width: int,
        context_width: int,
        depth: int = 6,
        num_heads: int | None = None,
        mlp_width: int | None = None,
        dropout: float = 0.1,
        layer_norm_eps: float = 1e-12,
        init_std: float = 0.02,
        init_from: str | None = None,
        init_layers: Sequence[int] | None = None,
        detach_text: bool = False,
        drop_path: float = 0.0,
        drop_path_unit: str = "samples",
        attention: str = "auto",
        shapes: str = "auto",
    ) -> None:
        super().__init__()
        self.width, self.detach_text, self.shapes = width, detach_text, check_shapes(shapes)
        num_heads = max(1, width // 64) if num_heads is None else num_heads
        if depth < 1:
            raise ValueError(f"depth is {depth}; expected 1 or more. A model without fusion: fusion_encoder=None.")
        if num_heads < 1 or width % num_heads:
            raise ValueError(f"fusion width {width} cannot be split in {num_heads} heads: num_heads must divide it.")
        mlp_width = mlp_width or 4 * width
        self.layer = nn.ModuleList(
            FusionLayer(width, context_width, num_heads, mlp_width, dropout, layer_norm_eps, attention)
            for _ in range(depth)
        )
        if drop_path:
            for layer, rate in zip(self.layer, linear_rates(drop_path, depth), strict=True):
                layer.set_drop_path(rate, drop_path_unit)
        self.activation_checkpointing = False
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.normal_(module.weight, std=init_std)
                nn.init.zeros_(module.bias)
        self._copied = copy_upper_layers(self, init_from, init_layers) if init_from else set()

    def pretrained_names(self) -> set[str]:
        """Parameters that were copied from ``init_from``."""
        return self._copied

    def set_activation_checkpointing(self, on: bool) -> None:
        """Recompute activations in the backward pass, to save memory."""
        self.activation_checkpointing = on

    def project(self, tokens: Tensor) -> list[KeyValue]:
        """Keys and values of ``[U, N, context_width]`` tokens for every layer, ``[U, H, N, d]`` each."""
        return [layer.project(tokens) for layer in self.layer]

    def forward(
        self,
        text: TextStates,
        context: Context | None,
        keys_values: Sequence[KeyValue] | None = None,
        at: Tensor | int | None = None,
    ) -> Tensor:
        """Fuse each text with its context.

        Args:
            text: ``B`` texts of width ``width``.
            context: ``B`` contexts; None runs the layers without cross-attention (plain text).
            keys_values: ``project(context.tokens)``, if it was computed before.
            at: The positions whose states are returned, as in :class:`~x2vlm.models.fusion.requests.FusionRequest`.

        Returns:
            ``[B, L, width]``, 0 at padding; by ``at`` ``[P, width]`` or ``[B, width]``.
        """
        return self.read([FusionRequest(text, context, at=at, keys_values=keys_values)])[0]

    def read(self, requests: Sequence[FusionRequest]) -> list[Tensor]:
        """Fuse texts with contexts in one pass: real tokens only, keys and values once per distinct context.

        Args:
            requests: One or more.

        Returns:
            The states of each request, as from :meth:`forward`.
        """
        ladder = ladder_of(self.shapes, requests[0].text.embeds.device)
        plan = FusionPlan(requests, shares_first=not self.training, ladder=ladder)
        hidden = plan.tokens.detach() if self.detach_text else plan.tokens
        for number, (layer, inputs) in enumerate(zip(self.layer, plan.layers(len(self.layer)), strict=True)):
            if self.activation_checkpointing and self.training:
                hidden = checkpoint(layer, hidden, inputs, number, use_reentrant=False)
            else:
                hidden = layer(hidden, inputs, number)
        return plan.states(hidden)


def copy_upper_layers(fusion: nn.Module, bert: str, layers: Sequence[int] | None = None) -> set[str]:
    """Copy the upper layers of a pre-trained BERT into a fusion encoder; returns the names that were filled.

    Args:
        fusion: The fusion encoder, with ``layer``.
        bert: Folder, weights file or hub name.
        layers: Layers of it to use, before the upper ones are taken; all where not given.

    Raises:
        CheckpointError: If it has fewer layers, or other sizes.
    """
    tensors = read_bert(bert)
    if layers is not None:
        tensors = choose_layers(tensors, layers)
    upper = fusion_tensors(tensors, len(fusion.layer))
    wanted = fusion.state_dict()
    sizes = [
        f"{name} is {tuple(value.shape)} but {bert} has {tuple(upper[name].shape)}"
        for name, value in wanted.items()
        if name in upper and upper[name].shape != value.shape
    ]
    if sizes:
        raise CheckpointError(f"fusion_encoder.{sizes[0]}: set width, num_heads and mlp_width as in that model.")
    fusion.load_state_dict({**wanted, **upper})
    return set(upper)
