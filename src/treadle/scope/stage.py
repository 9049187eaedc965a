"""Declares what the stage brings to a platform."""

from treadle.kernel.stage import Service, Stage

STAGE = Stage(
    name="scope",
    parts=("treadle.scope.names:ScopeNames",),
    services=(
        Service(
            name="scope",
            about="What is built, and when it is good enough.",
            kind="treadle.scope.service:Scope",
            here="treadle.scope.local:LocalScope",
        ),
    ),
    tables="treadle.scope.tables",
)
