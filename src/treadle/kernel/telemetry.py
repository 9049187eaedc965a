"""Tells libraries to report nothing to their makers, before they are imported."""

import os
from collections.abc import MutableMapping

OPT_OUTS = {
    "DO_NOT_TRACK": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "ORT_DISABLE_TELEMETRY": "1",
}
"""Variables that turn reporting off: of several tools, of Hugging Face's hub, of MLflow 3, and of
ONNX Runtime from 1.29 on, which else writes an identifier to disk and asks a server of its maker.
"""


def report_nothing(environment: MutableMapping[str, str] = os.environ) -> None:
    """Set the variables that are not set; who wants a library to report may say so by them.

    Args:
        environment: The environment of this process, or one that another is going to get.
    """
    for name, value in OPT_OUTS.items():
        environment.setdefault(name, value)
