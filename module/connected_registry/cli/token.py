"""``connected-registry token``: passwords and hashes for client tokens."""

from __future__ import annotations

import secrets
import sys
from json import dumps
from typing import Annotated

import typer
from pydantic import ValidationError

from connected_registry.cli.options import Json
from connected_registry.cli.output import print_error, print_json, print_line
from connected_registry.edge.refusal import Refusal
from connected_registry.errors import ConfigurationError
from connected_registry.policy.access import ClientToken
from connected_registry.policy.password import hash_password

app = typer.Typer(help="Make passwords and hashes for client tokens.", no_args_is_help=True)


@app.command("hash")
def hash_command(json: Json = False) -> None:
    """Read a password (from a prompt, or one line of standard input) and print its hash."""
    if sys.stdin.isatty():
        password = typer.prompt("Password", hide_input=True, confirmation_prompt=True, err=True)
    else:
        password = sys.stdin.readline().rstrip("\r\n")
    if not password:
        raise ConfigurationError("password", "", "it may not be empty")
    hashed = hash_password(password)
    print_json({"hash": hashed}) if json else print_line(hashed)


@app.command()
def create(
    name: Annotated[str, typer.Argument(help="The token's name: what clients log in with.")],
    scope_map: Annotated[
        str, typer.Option(help="The scope map that says what it may do.")
    ] = "_repositories_pull",
    json: Json = False,
) -> None:
    """Make a new password, shown this once, and the twin's entry that accepts it."""
    password = secrets.token_urlsafe(32)
    entry = {
        "name": name,
        "status": "enabled",
        "scopeMap": scope_map,
        "passwords": [{"hash": hash_password(password)}],
    }
    try:
        ClientToken.model_validate(entry)
    except ValidationError as error:
        raise ConfigurationError("NAME", name, Refusal.of(error, "token").remedy) from None
    if json:
        print_json({"name": name, "password": password, "clientToken": entry})
        return
    print_error("the password is shown this once; the line below goes into clientTokens")
    print_line(f"password: {password}")
    print_line(dumps(entry))
