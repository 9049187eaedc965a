"""Declares what the stage brings to a platform."""

from treadle.kernel.stage import Service, Stage

STAGE = Stage(
    name="monitoring",
    parts=(
        "treadle.monitoring.names:MonitoringNames",
        "treadle.monitoring.named_content:MonitoringContent",
        "treadle.monitoring.erased_logs:ErasedLogs",
    ),
    services=(
        Service(
            name="slo",
            about="Service level objectives: error budgets, burn rates and alerts.",
            kind="treadle.monitoring.slo.service:Slos",
            here="treadle.monitoring.slo.local:LocalSlos",
        ),
        Service(
            name="monitoring",
            about="What production shows.",
            kind="treadle.monitoring.service:Monitoring",
            here="treadle.monitoring.local:LocalMonitoring",
        ),
    ),
    tables="treadle.monitoring.tables",
)
