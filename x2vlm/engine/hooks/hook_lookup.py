"""Look up a hook of a runner by its class."""

from typing import Any

from mmengine.hooks import Hook


def find_hook(runner: Any, kind: type[Hook]) -> Any:
    """The runner's hook of a class; None if it has none."""
    return next((hook for hook in runner.hooks if isinstance(hook, kind)), None)
