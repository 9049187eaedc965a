"""Tables of incidents, their alerts, silences and messages."""

from sqlalchemy import BigInteger, Boolean, Column, Index, Integer, String, Table, Text

from treadle.ports.database import Instant, metadata

incidents = Table(
    "incidents",
    metadata,
    Column("id", BigInteger, primary_key=True, autoincrement=False),
    Column("project", String(63)),
    Column("endpoint", String(200), nullable=False),
    Column("title", Text, nullable=False),
    Column("severity", String(10), nullable=False),
    Column("state", String(20), nullable=False),
    Column("opened_at", Instant, nullable=False),
    Column("times_opened", Integer, nullable=False),
    Column("began_at", Instant, nullable=False),
    Column("last_at", Instant, nullable=False),
    Column("acknowledged_at", Instant),
    Column("acknowledged_by", String(200), nullable=False),
    Column("resolved_at", Instant),
    Column("resolved_by", String(200), nullable=False),
    Column("roles", Text, nullable=False),
    Column("review", Text, nullable=False),
    Index("incidents_by_project", "project", "state", "id"),
)

alerts = Table(
    "incident_alerts",
    metadata,
    Column("incident", BigInteger, primary_key=True, autoincrement=False),
    Column("key", String(64), primary_key=True),
    Column("kind", String(20), nullable=False),
    Column("endpoint", String(200), nullable=False),
    Column("severity", String(10), nullable=False),
    Column("says", Text, nullable=False),
    Column("count", Integer, nullable=False),
    Column("first_event", BigInteger, nullable=False),
    Column("last_event", BigInteger, nullable=False),
    Column("first_at", Instant, nullable=False),
    Column("last_at", Instant, nullable=False),
    Column("since", Instant, nullable=False),
    Column("window", Instant),
    Column("metric", String(100), nullable=False),
    Column("labelled", Boolean, nullable=False),
    Column("runbook", Text, nullable=False),
    Column("cleared_at", Instant),
    Index("incident_alerts_by_key", "key", "incident"),
)

silences = Table(
    "incident_silences",
    metadata,
    Column("id", String(40), primary_key=True),
    Column("project", String(63), nullable=False),
    Column("endpoint", String(200), nullable=False),
    Column("kind", String(20), nullable=False),
    Column("severity", String(10), nullable=False),
    Column("until", Instant, nullable=False),
    Column("reason", Text, nullable=False),
    Column("by", String(200), nullable=False),
    Column("created_at", Instant, nullable=False),
    Index("incident_silences_by_project", "project", "until"),
)

messages = Table(
    "incident_messages",
    metadata,
    Column("id", String(64), primary_key=True),
    Column("incident", BigInteger, nullable=False),
    Column("times_opened", Integer, nullable=False),
    Column("change", String(20), nullable=False),
    Column("severity", String(10), nullable=False),
    Column("route_key", String(64), nullable=False),
    Column("route", Text, nullable=False),
    Column("state", String(20), nullable=False),
    Column("due_at", Instant, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("next_at", Instant, nullable=False),
    Column("sent_at", Instant),
    Column("error", Text, nullable=False),
    Index("incident_messages_by_incident", "incident"),
    Index("incident_messages_by_state", "state", "next_at"),
)
