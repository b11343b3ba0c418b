"""A page and a REST API that serve one trained model. ``pip install 'x2vlm[app]'``."""
