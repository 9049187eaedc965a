"""Declares what the stage brings to a platform."""

from treadle.kernel.stage import Service, Stage

STAGE = Stage(
    name="features",
    parts=("treadle.features.erased_features:ErasedFeatures",),
    services=(
        Service(
            name="features",
            about="Features, and how fresh they are.",
            kind="treadle.features.service:Features",
        ),
    ),
)
