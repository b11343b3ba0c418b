"""Numbers that several rooms agree on."""

IGNORE_INDEX = -100
"""A label, a masked position or an answer that no loss and no metric counts, as in
:func:`torch.nn.functional.cross_entropy`."""
