"""Who may do what here: client tokens, scope maps and the permissions they add up to.

Names and action strings are those of Azure Container Registry's tokens and scope maps.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any, Final, Self

from pydantic import AfterValidator, Field, field_validator, model_validator

from connected_registry.policy.model import ContractModel, Items, Moment, Pair, Word
from connected_registry.policy.password import check_hash, verify_password
from connected_registry.policy.pattern import RepositoryPattern

GATEWAY_ACTIONS: Final = frozenset({"config/read", "config/write", "message/read", "message/write"})
"""What a child replica's own token is granted towards its parent; kept, though unused here."""

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}", re.ASCII)
_ACTION = re.compile(r"(?P<kind>repositories|gateway)/(?P<name>.+)/(?P<verb>[a-z]+/[a-z]+)")
_ACTION_REMEDY = (
    "must be an action such as 'repositories/team/app/content/read', with content/read, "
    "content/write, content/delete, metadata/read or metadata/write at the end"
)
_PLAIN_REMEDY = (
    "plain passwords are not accepted; make a hash with 'connected-registry token hash' "
    "and set it as passwords[].hash"
)
_PLAIN_KEYS: Final = frozenset({"password", "value", "secret", "plaintext", "plain", "text"})


class Action(StrEnum):
    """What can be done to a repository."""

    CONTENT_READ = "content/read"
    CONTENT_WRITE = "content/write"
    CONTENT_DELETE = "content/delete"
    METADATA_READ = "metadata/read"
    METADATA_WRITE = "metadata/write"


class Status(Word):
    """Whether a token works."""

    ENABLED = "enabled"
    DISABLED = "disabled"


@dataclass(frozen=True, slots=True)
class Permissions:
    """What one caller may do. Everything that is not granted is denied; grants only add up."""

    repositories: frozenset[tuple[RepositoryPattern, Action]] = frozenset()
    gateways: frozenset[tuple[str, str]] = frozenset()
    _exact: frozenset[tuple[str, Action]] = field(init=False, repr=False, compare=False)
    _patterns: tuple[tuple[RepositoryPattern, Action], ...] = field(
        init=False, repr=False, compare=False
    )

    def __post_init__(self) -> None:
        exact = frozenset(grant for grant in self.repositories if not grant[0].is_pattern)
        object.__setattr__(self, "_exact", exact)
        object.__setattr__(self, "_patterns", tuple(sorted(self.repositories - exact)))

    @classmethod
    def from_actions(cls, actions: Iterable[str]) -> Self:
        """Permissions of ``repositories/<r>/<verb>`` and ``gateway/<name>/<verb>`` strings.

        ``<r>`` is a name, ends in ``/*`` or is ``*``. Raises `ValueError`.
        """
        repositories, gateways = set(), set()
        for action in actions:
            found = _ACTION.fullmatch(action)
            if found is None:
                raise ValueError(f"{action[:300]!r} {_ACTION_REMEDY}")
            kind, name, verb = found["kind"], found["name"], found["verb"]
            if kind == "gateway":
                if verb not in GATEWAY_ACTIONS or not _NAME.fullmatch(name):
                    raise ValueError(
                        f"{action[:300]!r} must be a gateway action such as "
                        "'gateway/site-7/config/read'"
                    )
                gateways.add((name, verb))
            else:
                repositories.add(_repository_grant(action, name, verb))
        return cls(frozenset(repositories), frozenset(gateways))

    def allows(self, repository: str, action: Action) -> bool:
        """Whether ``action`` on ``repository`` is granted."""
        return (repository, action) in self._exact or any(
            granted is action and pattern.matches(repository) for pattern, granted in self._patterns
        )

    def allows_any(self, repository: str) -> bool:
        """Whether anything at all on ``repository`` is granted."""
        return any(self.allows(repository, action) for action in Action)

    def __or__(self, other: Permissions) -> Permissions:
        return Permissions(self.repositories | other.repositories, self.gateways | other.gateways)


def _repository_grant(action: str, name: str, verb: str) -> tuple[RepositoryPattern, Action]:
    if verb not in set(Action):
        raise ValueError(f"{action[:300]!r} {_ACTION_REMEDY}")
    try:
        pattern = RepositoryPattern.parse(name)
    except ValueError:
        pattern = None
    if pattern is None or (pattern.is_pattern and pattern.stem and not pattern.stem.endswith("/")):
        raise ValueError(
            f"{action[:300]!r} must name a repository such as 'team/app', 'team/*' or '*'"
        )
    return pattern, Action(verb)


def _check_name(name: str) -> str:
    if not _NAME.fullmatch(name):
        raise ValueError("must be 1 to 64 letters, digits, '-', '_' or '.'")
    return name


Name = Annotated[str, AfterValidator(_check_name)]


class ScopeMap(ContractModel):
    """A named set of permissions."""

    name: Name = Field(description="as client tokens name it")
    actions: Items[str] = Field(
        (), description="such as `repositories/team/app/content/read`, in ACR's form"
    )

    @field_validator("actions")
    @classmethod
    def _actions_parse(cls, actions: tuple[str, ...]) -> tuple[str, ...]:
        Permissions.from_actions(actions)
        return actions

    @property
    def permissions(self) -> Permissions:
        """What it grants."""
        return Permissions.from_actions(self.actions)


SYSTEM_SCOPE_MAPS: Final = (
    ScopeMap(
        name="_repositories_pull",
        actions=("repositories/*/content/read", "repositories/*/metadata/read"),
    ),
    ScopeMap(
        name="_repositories_push",
        actions=(
            "repositories/*/content/read",
            "repositories/*/content/write",
            "repositories/*/metadata/read",
        ),
    ),
    ScopeMap(
        name="_repositories_admin",
        actions=tuple(f"repositories/*/{action}" for action in Action),
    ),
)
"""The scope maps that exist without being defined, by the names they have in Azure."""


def _refuse_plain(data: Any) -> Any:
    """Refuse an object that has a plain password in it; the message must not repeat it."""
    if isinstance(data, dict) and any(str(key).lower() in _PLAIN_KEYS for key in data):
        raise ValueError(_PLAIN_REMEDY)
    return data


class Password(ContractModel):
    """One password of a token: never itself, only its hash."""

    hash: str = Field(repr=False, description="as made by `connected-registry token hash`")
    expiry: Moment | None = Field(None, description="until when it works; null: for ever")

    @model_validator(mode="before")
    @classmethod
    def _only_hashes(cls, data: Any) -> Any:
        if isinstance(data, str):
            raise ValueError(_PLAIN_REMEDY)
        return _refuse_plain(data)

    @field_validator("hash")
    @classmethod
    def _hash_parses(cls, text: str) -> str:
        return check_hash(text)

    def verifies(self, plain: str, now: datetime) -> bool:
        """Whether ``plain`` is this password and it has not expired at ``now``."""
        return verify_password(plain, self.hash) and (self.expiry is None or now < self.expiry)


class ClientToken(ContractModel):
    """A user of this registry: the name is the user name, and a scope map says what it may do."""

    name: Name = Field(description="the user name")
    status: Annotated[Status, Field(strict=False)] = Field(
        Status.ENABLED, description="whether it may log in"
    )
    scope_map: Name = Field(description="which of `scopeMaps` says what it may do")
    passwords: Pair[Password] = Field((), description="one or two, so that they can be changed")

    @model_validator(mode="before")
    @classmethod
    def _no_plain_password(cls, data: Any) -> Any:
        return _refuse_plain(data)

    def verifies(self, plain: str, now: datetime) -> bool:
        """Whether the token is enabled and ``plain`` is one of its passwords.

        Every password is tried, so that time does not tell which one it was.
        """
        matches = [password.verifies(plain, now) for password in self.passwords]
        return self.status is Status.ENABLED and any(matches)


def check_access(tokens: Iterable[ClientToken], scope_maps: Iterable[ScopeMap]) -> None:
    """Raise `ValueError` for a name given twice or a scope map that no one defines."""
    known = {scope_map.name for scope_map in SYSTEM_SCOPE_MAPS}
    for scope_map in scope_maps:
        if scope_map.name in known:
            raise ValueError(
                f"scope map {scope_map.name!r} is defined twice or has the name of a built-in one; "
                "keep one, under another name"
            )
        known.add(scope_map.name)
    seen = set()
    for token in tokens:
        if token.name in seen:
            raise ValueError(f"client token {token.name!r} is defined twice; keep one")
        seen.add(token.name)
        if token.scope_map not in known:
            raise ValueError(
                f"client token {token.name!r} names scope map {token.scope_map!r}, "
                "which is not in scopeMaps; add it there"
            )


def permissions_of(token: ClientToken, scope_maps: Iterable[ScopeMap]) -> Permissions:
    """What ``token`` may do: nothing where its scope map is not defined."""
    for scope_map in (*scope_maps, *SYSTEM_SCOPE_MAPS):
        if scope_map.name == token.scope_map:
            return scope_map.permissions
    return Permissions()
