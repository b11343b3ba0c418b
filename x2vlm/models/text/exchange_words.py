"""Another vocabulary's word embeddings in a network that keeps everything else."""

from torch import Tensor, nn

from x2vlm.weights.tower_weights import read_bert

_WORDS = "embeddings.word_embeddings.weight"


def exchange_words(net: nn.Module, source: str, pad_token_id: int | None = None) -> None:
    """Put the word embeddings of ``source`` where those of a network of transformers were.

    Args:
        net: The network; its configuration's ``vocab_size`` and ``pad_token_id`` follow.
        source: A folder with weights of a BERT, RoBERTa or XLM-R, or its name on the hub.
        pad_token_id: The padding id of the vocabulary; that of the network stays where not given.

    Raises:
        ValueError: If ``source`` has no word embeddings, or embeddings of another width.
    """
    words: Tensor | None = read_bert(source).get(_WORDS)
    width = net.config.hidden_size
    if words is None or words.shape[1] != width:
        found = "none" if words is None else f"some of width {words.shape[1]}"
        raise ValueError(f"word_embeddings={source!r}: expected word embeddings of width {width}; it has {found}.")
    if pad_token_id is not None:
        net.config.pad_token_id = pad_token_id
    net.config.vocab_size = len(words)
    embeddings = nn.Embedding(len(words), width, padding_idx=net.config.pad_token_id)
    embeddings.weight.data.copy_(words)
    net.set_input_embeddings(embeddings)
