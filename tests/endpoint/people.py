"""Callers with passwords, and the rules that know them."""

from __future__ import annotations

import hashlib
from datetime import datetime
from functools import cache

from connected_registry.endpoint.access import AccessRules
from connected_registry.policy.access import Action, ClientToken, Password, ScopeMap, Status
from connected_registry.policy.password import PasswordHash

MINE = "team/app"
OTHERS = "other/app"

SCOPE_MAPS = (
    ScopeMap(
        name="pull",
        actions=(f"repositories/{MINE}/content/read", f"repositories/{MINE}/metadata/read"),
    ),
    ScopeMap(
        name="push",
        actions=(
            "repositories/team/*/content/read",
            "repositories/team/*/content/write",
            "repositories/team/*/metadata/read",
        ),
    ),
    ScopeMap(name="list", actions=("repositories/*/metadata/read",)),
    ScopeMap(name="all", actions=tuple(f"repositories/*/{action}" for action in Action)),
    ScopeMap(name="none"),
)


@cache
def hashed(plain: str) -> str:
    """A hash of the least cost that is taken, so that tests log in quickly."""
    salt = plain.encode().ljust(16, b"-")
    key = hashlib.scrypt(plain.encode(), salt=salt, n=2**10, r=8, p=1, dklen=32)
    return str(PasswordHash(10, 8, 1, salt, key))


def token(
    name: str,
    scope_map: str,
    *passwords: str,
    status: Status = Status.ENABLED,
    expiry: datetime | None = None,
) -> ClientToken:
    """A client token; its password is its name with ``-secret`` unless others are given."""
    return ClientToken(
        name=name,
        status=status,
        scope_map=scope_map,
        passwords=tuple(
            Password(hash=hashed(plain), expiry=expiry)
            for plain in passwords or (f"{name}-secret",)
        ),
    )


def rules(*tokens: ClientToken, anonymous_pull: bool = False) -> AccessRules:
    """Rules with these tokens and `SCOPE_MAPS`."""
    return AccessRules(tokens=tokens, scope_maps=SCOPE_MAPS, anonymous_pull=anonymous_pull)
