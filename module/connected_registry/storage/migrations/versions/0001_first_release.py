"""The first release's tables, and the triggers that keep the tally.

SQL as it was on the day, not made from the models, which go on changing.
"""

from __future__ import annotations

from alembic import op

revision = "0001"
down_revision = None

TABLES = """
CREATE TABLE repository (
    id INTEGER NOT NULL,
    name VARCHAR NOT NULL,
    created_at BIGINT NOT NULL,
    CONSTRAINT pk_repository PRIMARY KEY (id),
    CONSTRAINT uq_repository_name UNIQUE (name)
);
CREATE TABLE blob (
    digest VARCHAR NOT NULL,
    size BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    verified_at BIGINT NOT NULL,
    CONSTRAINT pk_blob PRIMARY KEY (digest)
) WITHOUT ROWID;
CREATE INDEX ix_blob_verified_at ON blob (verified_at);
CREATE TABLE blob_link (
    repository_id INTEGER NOT NULL,
    digest VARCHAR NOT NULL,
    linked_at BIGINT NOT NULL,
    CONSTRAINT pk_blob_link PRIMARY KEY (repository_id, digest),
    CONSTRAINT fk_blob_link_repository_id FOREIGN KEY(repository_id) REFERENCES repository (id),
    CONSTRAINT fk_blob_link_digest FOREIGN KEY(digest) REFERENCES blob (digest)
) WITHOUT ROWID;
CREATE INDEX ix_blob_link_digest ON blob_link (digest);
CREATE TABLE manifest (
    repository_id INTEGER NOT NULL,
    digest VARCHAR NOT NULL,
    media_type VARCHAR NOT NULL,
    artifact_type VARCHAR,
    size BIGINT NOT NULL,
    subject VARCHAR,
    annotations JSON,
    origin VARCHAR NOT NULL,
    pushed_at BIGINT NOT NULL,
    CONSTRAINT pk_manifest PRIMARY KEY (repository_id, digest),
    CONSTRAINT fk_manifest_repository_id FOREIGN KEY(repository_id) REFERENCES repository (id),
    CONSTRAINT fk_manifest_digest FOREIGN KEY(digest) REFERENCES blob (digest)
);
CREATE INDEX ix_manifest_digest ON manifest (digest);
CREATE INDEX ix_manifest_repository_id_subject_digest
    ON manifest (repository_id, subject, digest) WHERE subject IS NOT NULL;
CREATE TABLE edge (
    parent VARCHAR NOT NULL,
    position INTEGER NOT NULL,
    child VARCHAR NOT NULL,
    kind VARCHAR NOT NULL,
    size BIGINT NOT NULL,
    platform VARCHAR,
    required BOOLEAN NOT NULL,
    CONSTRAINT pk_edge PRIMARY KEY (parent, position)
) WITHOUT ROWID;
CREATE INDEX ix_edge_child ON edge (child);
CREATE TABLE tag (
    repository_id INTEGER NOT NULL,
    name VARCHAR NOT NULL,
    digest VARCHAR NOT NULL,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL,
    origin VARCHAR NOT NULL,
    confirmed_at BIGINT,
    CONSTRAINT pk_tag PRIMARY KEY (repository_id, name),
    CONSTRAINT fk_tag_repository_id_digest
        FOREIGN KEY(repository_id, digest) REFERENCES manifest (repository_id, digest)
) WITHOUT ROWID;
CREATE INDEX ix_tag_repository_id_digest ON tag (repository_id, digest);
CREATE TABLE upload (
    id VARCHAR NOT NULL,
    repository VARCHAR NOT NULL,
    owner VARCHAR NOT NULL,
    algorithm VARCHAR,
    created_at BIGINT NOT NULL,
    CONSTRAINT pk_upload PRIMARY KEY (id)
);
CREATE TABLE image_state (
    repository VARCHAR NOT NULL,
    tag VARCHAR NOT NULL,
    wanted VARCHAR,
    held VARCHAR,
    state VARCHAR NOT NULL,
    reason VARCHAR,
    detail TEXT,
    bytes_missing BIGINT,
    rule_fingerprint VARCHAR,
    confirmed_at BIGINT,
    changed_at BIGINT NOT NULL,
    CONSTRAINT pk_image_state PRIMARY KEY (repository, tag)
) WITHOUT ROWID;
CREATE INDEX ix_image_state_state ON image_state (state);
CREATE TABLE run (
    id INTEGER NOT NULL,
    correlation_id VARCHAR NOT NULL,
    "trigger" VARCHAR NOT NULL,
    state VARCHAR NOT NULL,
    started_at BIGINT NOT NULL,
    ended_at BIGINT,
    images INTEGER NOT NULL,
    failed INTEGER NOT NULL,
    bytes_fetched BIGINT NOT NULL,
    error TEXT,
    CONSTRAINT pk_run PRIMARY KEY (id),
    CONSTRAINT uq_run_correlation_id UNIQUE (correlation_id)
);
CREATE TABLE meter (
    bucket_start BIGINT NOT NULL,
    bytes BIGINT NOT NULL,
    CONSTRAINT pk_meter PRIMARY KEY (bucket_start)
);
CREATE TABLE setting (
    "key" VARCHAR NOT NULL,
    value JSON NOT NULL,
    CONSTRAINT pk_setting PRIMARY KEY ("key")
);
CREATE TABLE tally (
    repository_id INTEGER NOT NULL,
    tags INTEGER DEFAULT '0' NOT NULL,
    manifests INTEGER DEFAULT '0' NOT NULL,
    blobs INTEGER DEFAULT '0' NOT NULL,
    bytes BIGINT DEFAULT '0' NOT NULL,
    CONSTRAINT pk_tally PRIMARY KEY (repository_id)
)
"""

TRIGGERS = (
    """
    CREATE TRIGGER tally_repository AFTER INSERT ON repository BEGIN
        INSERT INTO tally (repository_id) VALUES (NEW.id);
    END
    """,
    """
    CREATE TRIGGER tally_blob_added AFTER INSERT ON blob BEGIN
        UPDATE tally SET bytes = bytes + NEW.size WHERE repository_id = 0;
    END
    """,
    """
    CREATE TRIGGER tally_blob_removed AFTER DELETE ON blob BEGIN
        UPDATE tally SET bytes = bytes - OLD.size WHERE repository_id = 0;
    END
    """,
    """
    CREATE TRIGGER tally_link_added AFTER INSERT ON blob_link BEGIN
        UPDATE tally SET
            blobs = blobs + 1,
            bytes = bytes + (SELECT size FROM blob WHERE digest = NEW.digest)
        WHERE repository_id = NEW.repository_id;
        UPDATE tally SET blobs = blobs + 1 WHERE repository_id = 0 AND NOT EXISTS (
            SELECT 1 FROM blob_link
            WHERE digest = NEW.digest AND repository_id <> NEW.repository_id
        );
    END
    """,
    """
    CREATE TRIGGER tally_link_removed AFTER DELETE ON blob_link BEGIN
        UPDATE tally SET
            blobs = blobs - 1,
            bytes = bytes - (SELECT size FROM blob WHERE digest = OLD.digest)
        WHERE repository_id = OLD.repository_id;
        UPDATE tally SET blobs = blobs - 1 WHERE repository_id = 0 AND NOT EXISTS (
            SELECT 1 FROM blob_link WHERE digest = OLD.digest
        );
    END
    """,
    """
    CREATE TRIGGER tally_manifest_added AFTER INSERT ON manifest BEGIN
        UPDATE tally SET manifests = manifests + 1, bytes = bytes + NEW.size
        WHERE repository_id = NEW.repository_id;
        UPDATE tally SET manifests = manifests + 1 WHERE repository_id = 0;
    END
    """,
    """
    CREATE TRIGGER tally_manifest_removed AFTER DELETE ON manifest BEGIN
        UPDATE tally SET manifests = manifests - 1, bytes = bytes - OLD.size
        WHERE repository_id = OLD.repository_id;
        UPDATE tally SET manifests = manifests - 1 WHERE repository_id = 0;
    END
    """,
    """
    CREATE TRIGGER tally_tag_added AFTER INSERT ON tag BEGIN
        UPDATE tally SET tags = tags + 1 WHERE repository_id IN (0, NEW.repository_id);
    END
    """,
    """
    CREATE TRIGGER tally_tag_removed AFTER DELETE ON tag BEGIN
        UPDATE tally SET tags = tags - 1 WHERE repository_id IN (0, OLD.repository_id);
    END
    """,
)


def upgrade() -> None:
    """Make everything."""
    for statement in TABLES.split(";"):
        op.execute(statement.strip())
    op.execute("INSERT INTO tally (repository_id) VALUES (0)")
    for statement in TRIGGERS:
        op.execute(statement)
