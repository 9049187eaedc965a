"""Does one step of a pipeline in the process that is confined to it."""

import errno
import os
import socket
import traceback
from pathlib import Path
from typing import Any
from urllib.error import URLError

from treadle.kernel.entity import from_plain, to_plain
from treadle.kernel.errors import Invalid, TreadleError, missing_extra
from treadle.pipelines.perform import StepTask, perform
from treadle.platform.runtimes import Exporters, Runtimes

TRAINED_WITH = ("pandas", "sklearn", "skl2onnx", "onnx", "onnxruntime")


def run(argument: Any) -> Any:
    """Do one step.

    Args:
        argument: A ``StepTask`` as JSON holds it.

    Returns:
        What the step has returned: ``Performed`` as JSON holds it.

    Raises:
        TreadleError: The step failed, for the reason that the error names.
    """
    task = from_plain(argument, StepTask)
    try:
        runtimes = Runtimes(trusted=True)  # the step's own code
        return to_plain(perform(task, Exporters(), runtimes))
    except TreadleError:
        raise
    except Exception as error:
        traceback.print_exc()
        own_home = str(Path(task.into).parent / "tmp")  # what a sandbox gives, and nothing else
        confined = os.environ.get("HOME") == own_home
        raise Invalid(reason(error) + (_hint(error) if confined else "")) from error


def _hint(error: Exception) -> str:
    """What to do about an error that the sandbox may have caused, or nothing."""
    if isinstance(error, ConnectionError | socket.gaierror | URLError) or (
        isinstance(error, OSError) and error.errno == errno.ENETUNREACH
    ):
        return " (Steps reach no network unless [pipeline] says network = true.)"
    if isinstance(error, FileNotFoundError | PermissionError):
        return " (Steps see their declared inputs only: declare a file as [data.NAME] source.)"
    return ""


def reason(error: Exception) -> str:
    """What went wrong in a step or a job, in a sentence.

    A library that an extra brings is named with its extra.

    Args:
        error: What was raised.
    """
    if (
        isinstance(error, ModuleNotFoundError)
        and (error.name or "").partition(".")[0] in TRAINED_WITH
    ):
        return missing_extra("train", f"'{error.name}'").message
    return str(error) if isinstance(error, TreadleError) else f"{type(error).__name__}: {error}"
