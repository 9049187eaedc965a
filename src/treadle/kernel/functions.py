"""Loads a function from a file that a person names."""

import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from treadle.kernel.errors import Invalid, NotFound, did_you_mean


def function_at(target: str) -> Callable[..., Any]:
    """Load a function; this runs the file's code.

    The file's folder joins ``sys.path``, so that the file may import what lies beside it.

    Args:
        target: ``FILE.py:FUNCTION``.

    Raises:
        Invalid: It is not of that form, the file cannot be loaded, or has no such function.
        NotFound: There is no such file.
    """
    file, name = file_and_name(target)
    sys.path.insert(0, str(file.resolve().parent))
    spec = importlib.util.spec_from_file_location(file.stem, file)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[file.stem] = module
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        raise Invalid(f"'{file}' cannot be loaded: {type(error).__name__}: {error}") from error
    function = getattr(module, name, None)
    if not callable(function):
        near = did_you_mean(name, vars(module))
        raise Invalid(f"'{file}' has no function '{name}'.{near}")
    found: Callable[..., Any] = function
    return found


def file_and_name(target: str) -> tuple[Path, str]:
    """Split ``FILE.py:FUNCTION``.

    Args:
        target: The text.

    Raises:
        Invalid: It is not of that form.
        NotFound: There is no such file.
    """
    file, colon, name = target.rpartition(":")
    if not colon or not file.endswith(".py") or not name.isidentifier():
        raise Invalid(f"'{target}' is not of the form FILE.py:FUNCTION.")
    if not Path(file).is_file():
        raise NotFound(f"There is no file '{file}'.")
    return Path(file), name
