"""Parts that towers share: attention and its backends, stochastic depth, tokens without padding."""
