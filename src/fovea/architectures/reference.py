"""Networks of the user's own: `file.py:Class` or `package.module:function` wherever a network's name goes."""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import inspect
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from fovea.errors import ModelError, UsageError, suggestion


def is_reference(name: str) -> bool:
    """Whether a name is meant as a place of code rather than as a network of the catalogue."""
    return ":" in name


def builder_of(reference: str) -> Callable[..., Any]:
    """The class or function that a reference names; its file or module is run.

    Raises:
        UsageError: there is no such file, module or name.
        ModelError: the code fails when it is run.
    """
    place, _, name = reference.rpartition(":")
    module = _from_file(Path(place)) if place.endswith(".py") else _from_package(place)
    known = [each for each, value in vars(module).items() if callable(value) and not each.startswith("_")]
    if name not in known:
        raise UsageError(f"{place} has no class or function called {name!r}.{suggestion(name, known)}")
    builder: Callable[..., Any] = getattr(module, name)
    return builder


def accepted(builder: Callable[..., Any], arguments: dict[str, Any]) -> dict[str, Any]:
    """Those of the arguments that the builder takes by name."""
    parameters = inspect.signature(builder).parameters.values()
    if any(parameter.kind is inspect.Parameter.VAR_KEYWORD for parameter in parameters):
        return arguments
    names = {parameter.name for parameter in parameters if parameter.kind is not inspect.Parameter.POSITIONAL_ONLY}
    return {name: value for name, value in arguments.items() if name in names}


def _from_file(path: Path) -> Any:
    if not path.is_file():
        raise UsageError(f"{path}: there is no such file; a network of your own is file.py:Class")
    name = f"fovea_user_{hashlib.sha256(str(path.resolve()).encode()).hexdigest()[:12]}"
    specification = importlib.util.spec_from_file_location(name, path)
    if specification is None or specification.loader is None:
        raise UsageError(f"{path}: is no Python file")
    module = importlib.util.module_from_spec(specification)
    sys.modules[name] = module  # so that its classes can be found again, by pickle for one
    try:
        specification.loader.exec_module(module)
    except Exception as error:
        raise ModelError(f"{path}: fails when it is run: {type(error).__name__}: {error}") from error
    return module


def _from_package(place: str) -> Any:
    try:
        return importlib.import_module(place)
    except ImportError as error:
        raise UsageError(f"module {place!r} cannot be imported ({error}); a file is named file.py:Class") from error
