"""What Alembic runs: the due migrations on the connection it is given."""

from __future__ import annotations

from alembic import context

from connected_registry.storage.models import Row

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=Row.metadata,
    render_as_batch=True,
    transactional_ddl=True,
)
context.run_migrations()
