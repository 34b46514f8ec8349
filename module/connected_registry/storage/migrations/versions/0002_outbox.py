"""The queue of telemetry that waits for the hub."""

from __future__ import annotations

from alembic import op

revision = "0002"
down_revision = "0001"

TABLE = """
CREATE TABLE outbox (
    sequence INTEGER NOT NULL,
    id VARCHAR NOT NULL,
    name VARCHAR NOT NULL,
    severity VARCHAR NOT NULL,
    body TEXT NOT NULL,
    size INTEGER NOT NULL,
    created_at BIGINT NOT NULL,
    CONSTRAINT pk_outbox PRIMARY KEY (sequence),
    CONSTRAINT uq_outbox_id UNIQUE (id)
)
"""


def upgrade() -> None:
    """Make the table."""
    op.execute(TABLE)
