"""Declares what the stage brings to a platform."""

from treadle.kernel.stage import Service, Stage

STAGE = Stage(
    name="tracking",
    parts=(
        "treadle.tracking.names:TrackingNames",
        "treadle.tracking.named_content:TrackingContent",
        "treadle.tracking.soundness:TrackingSoundness",
    ),
    services=(
        Service(
            name="tracking",
            about="What was tried, and what came out.",
            kind="treadle.tracking.service:Tracking",
            here="treadle.tracking.local:LocalTracking",
        ),
        Service(
            name="logged_models",
            about="Models that runs have logged.",
            kind="treadle.tracking.logged_models:LoggedModels",
            here="treadle.tracking.local_logged_models:LocalLoggedModels",
        ),
        Service(
            name="traces",
            about="Traces of requests, with their spans.",
            kind="treadle.tracking.traces:Traces",
            here="treadle.tracking.local_traces:LocalTraces",
        ),
        Service(
            name="views",
            about="Saved searches over runs.",
            kind="treadle.tracking.views:Views",
        ),
    ),
    tables="treadle.tracking.tables",
)
