"""Old names of classes and arguments, which still work with a warning that says what to write."""

import warnings
from collections.abc import Callable, Mapping
from functools import wraps
from typing import Any


def renamed_attributes(module: str, names: Mapping[str, Any]) -> Callable[[str], Any]:
    """A module's ``__getattr__`` for old names of its classes.

    Args:
        module: Name of the module.
        names: From the old name to the class.
    """

    def get(name: str) -> Any:
        if name not in names:
            raise AttributeError(f"module {module!r} has no attribute {name!r}")
        new = names[name]
        message = f"{module}.{name} is now {new.__module__}.{new.__qualname__}."
        warnings.warn(message, DeprecationWarning, stacklevel=2)
        return new

    return get


def renamed_argument(old: str, new: str) -> Callable[[Callable], Callable]:
    """A decorator that takes keyword ``old`` for ``new``."""

    def decorate(function: Callable) -> Callable:
        @wraps(function)
        def call(*args: Any, **kwargs: Any) -> Any:
            if old in kwargs:
                message = f"{function.__name__}({old}=...) is now {function.__name__}({new}=...)."
                warnings.warn(message, DeprecationWarning, stacklevel=2)
                kwargs[new] = kwargs.pop(old)
            return function(*args, **kwargs)

        return call

    return decorate
