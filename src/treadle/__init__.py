"""Treadle: MLOps from scope to retraining. Public names are loaded when they are first used."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from treadle.kernel.telemetry import report_nothing

if TYPE_CHECKING:
    from treadle.data.splits import held_out
    from treadle.features.feature_set import features
    from treadle.features.materialising import materialise
    from treadle.features.point_in_time import join_as_of
    from treadle.features.views import FeatureView, on_demand
    from treadle.monitoring.drift import drift
    from treadle.monitoring.estimation import estimate_performance
    from treadle.pipelines.step import step
    from treadle.platform.recording import run
    from treadle.platform.remote import connect
    from treadle.platform.selecting import select
    from treadle.platform.start import embedded
    from treadle.platform.training_launch import train
    from treadle.platform.tuning import tune
    from treadle.ports.online_store import open_store
    from treadle.stats.detectors import detector, restored_detector
    from treadle.training.package import Model

report_nothing()

__all__ = [
    "FeatureView",
    "Model",
    "connect",
    "detector",
    "drift",
    "embedded",
    "estimate_performance",
    "features",
    "held_out",
    "join_as_of",
    "materialise",
    "on_demand",
    "open_store",
    "restored_detector",
    "run",
    "select",
    "step",
    "train",
    "tune",
]

_HOMES = {
    "FeatureView": "treadle.features.views",
    "Model": "treadle.training.package",
    "connect": "treadle.platform.remote",
    "detector": "treadle.stats.detectors",
    "drift": "treadle.monitoring.drift",
    "embedded": "treadle.platform.start",
    "estimate_performance": "treadle.monitoring.estimation",
    "held_out": "treadle.data.splits",
    "features": "treadle.features.feature_set",
    "join_as_of": "treadle.features.point_in_time",
    "materialise": "treadle.features.materialising",
    "on_demand": "treadle.features.views",
    "open_store": "treadle.ports.online_store",
    "restored_detector": "treadle.stats.detectors",
    "run": "treadle.platform.recording",
    "select": "treadle.platform.selecting",
    "step": "treadle.pipelines.step",
    "train": "treadle.platform.training_launch",
    "tune": "treadle.platform.tuning",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'treadle' has no attribute '{name}'")
    found = getattr(import_module(_HOMES[name]), name)
    # The package treadle.features can be called: importing it has put it into this place already.
    return globals().get(name, found)


def __dir__() -> list[str]:
    return __all__
