"""A registry in which a plugin cannot take the name of a part of the library by accident.

A name belongs to the library's part. A plugin that registers it too is left with its other parts, and a warning names
both. With ``force=True`` its part takes the place in configs that ask for the plugin, and in no others.
"""

import logging
from collections.abc import Callable
from typing import Any

from mmengine.registry import Registry

_LIBRARY = "x2vlm"


class Family(Registry):
    """MMEngine's registry of one kind of parts.

    Attributes:
        loading: Whether plugins are being loaded, which every config in reach gets, wanted or not.
    """

    loading = False

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._own: dict[str, Any] = {}  # the library's part of each name
        self._in_place: dict[str, Any] = {}  # what plugins would put in the place of such a part, where it is asked for
        self._active: set[str] = set()

    def register_module(self, name: Any = None, force: bool = False, module: Any = None) -> Any:
        """As MMEngine's; without its parentheses it would be given the class as a name, and says so."""
        if isinstance(name, type) and module is None:
            raise TypeError(f"write @...register_module() above {name.__name__}, with parentheses.")
        return super().register_module(name, force, module)

    def _register_module(self, module: Any, module_name: str | list[str] | None = None, force: bool = False) -> None:
        names = [module_name] if isinstance(module_name, str) else module_name or [getattr(module, "__name__", "")]
        for name in names:
            if _home(module).split(".")[0] == _LIBRARY:
                self._register_own(name, module, force)
            elif force and Family.loading:
                self._in_place[name] = module
                if name not in self._own:
                    super()._register_module(module, name, force=True)
            elif name in self._own and not force:
                _warn(self.name, name, self._own[name], module)
            elif not force and name in self.module_dict and self.module_dict[name] is not module:
                raise KeyError(
                    f"{_home(module)} registers the {self.name} '{name}', which {_home(self.module_dict[name])} has "
                    "already. Choose another name."
                )
            else:
                super()._register_module(module, name, force)

    def _register_own(self, name: str, module: Any, force: bool) -> None:
        there = self.module_dict.get(name)
        if name in self._active:
            self._own[name] = module
            return
        if there is not None and name not in self._own:  # a plugin was imported before this part of the library
            force = True
            if self._in_place.get(name) is not there:
                _warn(self.name, name, module, there)
        super()._register_module(module, name, force)
        self._own[name] = module

    def put_in_place(self, is_wanted: Callable[[str], bool]) -> list[str]:
        """Let the forced parts of some plugins take the library's places, and only these; returns their names.

        Args:
            is_wanted: Whether the plugin of a part is asked for, by the part's module.
        """
        self._active = {name for name, part in self._in_place.items() if is_wanted(_home(part))}
        for name, part in self._in_place.items():
            if name in self._active or name in self._own:
                self.module_dict[name] = part if name in self._active else self._own[name]
        return sorted(self._active & set(self._own))


def _home(module: Any) -> str:
    return getattr(module, "__module__", "") or ""


def _warn(family: str, name: str, own: Any, other: Any) -> None:
    logging.getLogger(_LIBRARY).warning(
        "%s registers the %s '%s', which %s has already: the library's stays. Choose another name; or register it with "
        "force=True, and it takes the place in configs that ask for the plugin.",
        _home(other),
        family,
        name,
        _home(own),
    )
