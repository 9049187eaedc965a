"""Declares what the stage brings to a platform."""

from treadle.kernel.stage import Service, Stage

STAGE = Stage(
    name="delivery",
    parts=(
        "treadle.delivery.names:DeliveryNames",
        "treadle.delivery.named_content:DeliveryContent",
    ),
    services=(
        Service(
            name="delivery",
            about="What is live, and how it got there.",
            kind="treadle.delivery.service:Delivery",
            here="treadle.delivery.local:LocalDelivery",
        ),
    ),
    tables="treadle.delivery.tables",
)
