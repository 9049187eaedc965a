"""Treadle: MLOps from scope to retraining. Public names are loaded when they are first used."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from treadle.data.splits import held_out
    from treadle.features.point_in_time import join_as_of
    from treadle.pipelines.step import step
    from treadle.platform.recording import run
    from treadle.platform.remote import connect
    from treadle.platform.start import embedded
    from treadle.training.package import Model

__all__ = ["Model", "connect", "embedded", "held_out", "join_as_of", "run", "step"]

_HOMES = {
    "Model": "treadle.training.package",
    "connect": "treadle.platform.remote",
    "embedded": "treadle.platform.start",
    "held_out": "treadle.data.splits",
    "join_as_of": "treadle.features.point_in_time",
    "run": "treadle.platform.recording",
    "step": "treadle.pipelines.step",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'treadle' has no attribute '{name}'")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return __all__
