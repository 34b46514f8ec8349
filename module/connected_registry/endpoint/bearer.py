"""Short-lived signed tokens and the scopes they carry, in the form of Docker's token protocol."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import jwt

from connected_registry.errors import NameInvalid, TokenInvalid
from connected_registry.oci.challenge import TokenScope
from connected_registry.oci.reference import RepositoryName
from connected_registry.policy.access import Action, Permissions

LIFETIME: Final = timedelta(minutes=15)
MAX_LIFETIME: Final = timedelta(hours=1)
LEEWAY: Final = timedelta(seconds=60)

_ALGORITHM: Final = "HS256"
_ISSUER: Final = "connected-registry"
_REQUIRED: Final = ["iss", "sub", "aud", "exp", "nbf", "iat", "jti"]

WORDS: Final = {
    Action.CONTENT_READ: "pull",
    Action.CONTENT_WRITE: "push",
    Action.CONTENT_DELETE: "delete",
    Action.METADATA_READ: "metadata_read",
    Action.METADATA_WRITE: "metadata_write",
}
"""What each action is called in a token and in a challenge."""

_ACTIONS: Final = {word: action for action, word in WORDS.items()}


def meant_by(scope: TokenScope) -> frozenset[Action]:
    """The actions a client means. Those that list tags ask for ``pull``, so it means both reads."""
    if "*" in scope.actions:
        return frozenset(Action)
    actions = {_ACTIONS[word] for word in scope.actions if word in _ACTIONS}
    if Action.CONTENT_READ in actions:
        actions.add(Action.METADATA_READ)
    return frozenset(actions)


@dataclass(frozen=True, slots=True)
class Grants:
    """What one token is good for: at most what its owner may do."""

    repositories: frozenset[tuple[str, Action]] = frozenset()
    catalog: bool = False

    @classmethod
    def of(cls, wanted: Iterable[TokenScope], permissions: Permissions) -> Grants:
        """The part of what is wanted that ``permissions`` allow; the rest is left out silently."""
        repositories: set[tuple[str, Action]] = set()
        catalog = False
        for scope in wanted:
            if scope.type == "repository" and _is_name(scope.name):
                repositories.update(
                    (scope.name, action)
                    for action in meant_by(scope)
                    if permissions.allows(scope.name, action)
                )
            catalog = catalog or (scope.type, scope.name) == ("registry", "catalog")
        return cls(frozenset(repositories), catalog)

    def as_claim(self) -> list[dict[str, Any]]:
        """The ``access`` claim: one entry a repository, in order."""
        words: dict[str, list[str]] = {}
        for name, action in sorted(self.repositories):
            words.setdefault(name, []).append(WORDS[action])
        entries: list[dict[str, Any]] = [
            {"type": "repository", "name": name, "actions": actions}
            for name, actions in words.items()
        ]
        if self.catalog:
            entries.append({"type": "registry", "name": "catalog", "actions": ["*"]})
        return entries

    @classmethod
    def from_claim(cls, entries: list[dict[str, Any]]) -> Grants:
        """The reverse; entries of unknown kinds grant nothing."""
        return cls(
            frozenset(
                (entry["name"], _ACTIONS[word])
                for entry in entries
                if entry["type"] == "repository"
                for word in entry["actions"]
                if word in _ACTIONS
            ),
            any(entry["type"] == "registry" and entry["name"] == "catalog" for entry in entries),
        )


def _is_name(text: str) -> bool:
    try:
        RepositoryName.parse(text)
    except NameInvalid:
        return False
    return True


@dataclass(frozen=True, slots=True)
class Claims:
    """What a genuine token says."""

    subject: str
    credential: str
    """Which of the subject's passwords it was bought with; empty for nobody's."""
    grants: Grants
    expires: datetime


class TokenSigner:
    """Issues and reads tokens that only this replica accepts.

    ``audience`` names the replica; ``key`` has at least 32 bytes. Whatever a token's header says,
    the algorithm and the key are ours.
    """

    def __init__(
        self,
        key: bytes,
        audience: str,
        *,
        clock: Callable[[], datetime],
        lifetime: timedelta = LIFETIME,
    ) -> None:
        if len(key) < 32:
            raise ValueError("a signing key has at least 32 bytes")
        if not timedelta(seconds=60) <= lifetime <= MAX_LIFETIME:
            raise ValueError("a token lives between a minute and an hour")
        self._key = key
        self._audience = audience
        self._clock = clock
        self.lifetime = lifetime

    def issue(self, subject: str, credential: str, grants: Grants) -> str:
        """A fresh token."""
        now = int(self._clock().timestamp())
        return jwt.encode(
            {
                "iss": _ISSUER,
                "sub": subject,
                "aud": self._audience,
                "iat": now,
                "nbf": now,
                "exp": now + int(self.lifetime.total_seconds()),
                "jti": secrets.token_urlsafe(12),
                "credential": credential,
                "access": grants.as_claim(),
            },
            self._key,
            algorithm=_ALGORITHM,
        )

    def read(self, token: str) -> Claims:
        """Raises `TokenInvalid` unless the token is ours, whole and of this hour."""
        try:
            claims = jwt.decode(
                token,
                self._key,
                algorithms=[_ALGORITHM],
                audience=self._audience,
                issuer=_ISSUER,
                # times are judged below, by the clock we were given
                options={
                    "require": _REQUIRED,
                    "verify_exp": False,
                    "verify_nbf": False,
                    "verify_iat": False,
                    "strict_aud": True,
                },
            )
            begins, ends = int(claims["nbf"]), int(claims["exp"])
            result = Claims(
                str(claims["sub"]),
                str(claims["credential"]),
                Grants.from_claim(claims["access"]),
                datetime.fromtimestamp(ends, UTC),
            )
        except (jwt.PyJWTError, KeyError, TypeError, ValueError, OverflowError) as error:
            raise TokenInvalid("the token is not valid here") from error
        now = self._clock().timestamp()
        if not begins - LEEWAY.total_seconds() <= now < ends + LEEWAY.total_seconds():
            raise TokenInvalid("the token has expired")
        return result
