"""Declares what the stage brings to a platform."""

from treadle.kernel.stage import Service, Stage

STAGE = Stage(
    name="registry",
    parts=(
        "treadle.registry.names:RegistryNames",
        "treadle.registry.named_content:RegistryContent",
        "treadle.registry.erased_data:ErasedData",
    ),
    services=(
        Service(
            name="registry",
            about="Models and their versions.",
            kind="treadle.registry.service:Registry",
            here="treadle.registry.local:LocalRegistry",
        ),
        Service(
            name="lineage",
            about="Where versions come from and where they went; cards and bills of materials.",
            kind="treadle.registry.lineage:Lineage",
        ),
        Service(
            name="webhooks",
            about="Subscriptions of other programs to events.",
            kind="treadle.registry.webhooks:Webhooks",
            here="treadle.registry.local_webhooks:LocalWebhooks",
        ),
    ),
    tables="treadle.registry.tables",
)
