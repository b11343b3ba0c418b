"""Multi-grained vision-language models: X2-VLM (arXiv:2211.12402) and its siblings, as a library of plugins.

Importing this package is instant; the names below load what they need when they are first touched.
"""

from importlib import import_module
from typing import Any

__version__ = "0.1.0"

_LAZY = {
    "X2VLM": "x2vlm.models.x2vlm",
    "build": "x2vlm.building",
    "load_config": "x2vlm.config",
    "build_runner": "x2vlm.engine.runner_builder",
    "create_model": "x2vlm.model_zoo",
    "list_models": "x2vlm.model_zoo",
}
__all__ = ["X2VLM", "__version__", "build", "build_runner", "create_model", "list_models", "load_config"]


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(import_module(_LAZY[name]), name)
    raise AttributeError(f"module 'x2vlm' has no attribute '{name}'. It offers: {', '.join(__all__)}.")
