"""Operations with a backward pass of their own (``torch.autograd.Function``)."""
