"""A stand-in data loader for MMEngine's runner and hooks, for loops that read several loaders."""

from types import SimpleNamespace


class LoaderFacade:
    """The attributes of a data loader that MMEngine's runner and hooks read.

    Args:
        length: Number of batches (training: iterations).
        batch_size: Pairs in a step, over all streams.
    """

    sampler = None
    batch_sampler = None

    def __init__(self, length: int, batch_size: int) -> None:
        self.length, self.batch_size = length, batch_size
        self.dataset = SimpleNamespace(metainfo={})

    def __len__(self) -> int:
        return self.length
