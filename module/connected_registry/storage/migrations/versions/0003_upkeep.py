"""When manifests were last used, and which content was found damaged."""

from __future__ import annotations

from alembic import op

revision = "0003"
down_revision = "0002"

TABLES = """
CREATE TABLE manifest_use (
    repository_id INTEGER NOT NULL,
    digest VARCHAR NOT NULL,
    used_at BIGINT NOT NULL,
    CONSTRAINT pk_manifest_use PRIMARY KEY (repository_id, digest)
) WITHOUT ROWID;
CREATE TABLE damage (
    digest VARCHAR NOT NULL,
    size BIGINT NOT NULL,
    reason VARCHAR NOT NULL,
    found_at BIGINT NOT NULL,
    CONSTRAINT pk_damage PRIMARY KEY (digest)
)
"""


def upgrade() -> None:
    """Make the tables."""
    for statement in TABLES.split(";"):
        op.execute(statement.strip())
