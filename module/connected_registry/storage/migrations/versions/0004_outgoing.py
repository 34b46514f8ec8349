"""The queue of what was pushed on site and goes up to the parent."""

from __future__ import annotations

from alembic import op

revision = "0004"
down_revision = "0003"

QUEUE = """
CREATE TABLE outgoing (
    sequence INTEGER NOT NULL,
    kind VARCHAR NOT NULL,
    repository VARCHAR NOT NULL,
    tag VARCHAR,
    digest VARCHAR NOT NULL,
    queued_at BIGINT NOT NULL,
    attempts INTEGER NOT NULL,
    reason VARCHAR,
    detail TEXT,
    tried_at BIGINT,
    CONSTRAINT pk_outgoing PRIMARY KEY (sequence)
)
"""

BY_REPOSITORY = "CREATE INDEX ix_outgoing_repository_tag ON outgoing (repository, tag)"

SEEN = """
CREATE TABLE seen_tag (
    repository VARCHAR NOT NULL,
    tag VARCHAR NOT NULL,
    digest VARCHAR,
    CONSTRAINT pk_seen_tag PRIMARY KEY (repository, tag)
) WITHOUT ROWID
"""


def upgrade() -> None:
    """Make the tables."""
    for statement in (QUEUE, BY_REPOSITORY, SEEN):
        op.execute(statement)
