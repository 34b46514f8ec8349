"""Run a replica here: sync chosen repositories of a parent, then serve them.

Without --parent the parent is a sample registry, started here too, with images made on the spot:
no account and no network is needed.
"""

from __future__ import annotations

import argparse
import getpass
import json
import shutil
import signal
import sys
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from service import Service, ServiceError, check_free, free_listener

TOP = Path(__file__).resolve().parent.parent
HELLO = "samples/hello"
"""The sample that says something when it is run."""
SAMPLE_RATE = 400_000
"""Bytes a second from the sample parent: a link slow enough for the progress bar to be seen."""
NO, OFFLINE = 1, 3
"""Exit codes of a sync that is not complete; the replica serves what it has and goes on trying."""
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Interrupted(BaseException):
    """A signal asked us to stop."""


def arguments() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="scripts/run",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="""examples:
  scripts/run
  scripts/run --parent mcr.microsoft.com --repository azureiotedge-agent:1.6 --platform linux/arm64
  scripts/run --parent example.azurecr.io --repository 'plant/*' --username site

exit codes: 0 done; 1 the sync failed or is incomplete; 2 a wrong argument; 3 the parent cannot be
reached; 5 the replica could not start""",
    )
    parent = parser.add_argument_group("a parent of your own")
    parent.add_argument("--parent", metavar="HOST[:PORT]", help="the registry to replicate")
    parent.add_argument(
        "--repository",
        metavar="NAME[:TAG[,TAG]]",
        action="append",
        default=[],
        help="what to hold; tags may be globs such as 1.*; may be given again",
    )
    parent.add_argument(
        "--platform",
        action="append",
        default=[],
        help="hold only this platform, such as linux/arm64; may be given again",
    )
    parent.add_argument("--protocol", choices=["https", "http"], default="https")
    parent.add_argument("--username", help="user or token name; asks for the password")
    secret = parent.add_mutually_exclusive_group()
    secret.add_argument("--password-file", type=Path, metavar="FILE")
    secret.add_argument("--password-stdin", action="store_true")
    parent.add_argument(
        "--realm-host",
        metavar="HOST",
        action="append",
        default=[],
        help="token server on another host that may see the credentials; may be given again",
    )
    parent.add_argument("--ca-file", type=Path, metavar="FILE", help="authorities of its TLS (PEM)")
    parser.add_argument("--listen", default="127.0.0.1:8080", metavar="HOST:PORT")
    parser.add_argument("--data", type=Path, metavar="DIR", help="default: .data/<parent>")
    parser.add_argument("--once", action="store_true", help="stop after the first sync")
    return parser


def rules(given: argparse.Namespace) -> list[dict[str, Any]]:
    """The twin's ``scope.repositories`` from --repository and --platform."""
    from connected_registry.policy.scope import RepositoryRule

    found = []
    for text in given.repository:
        try:
            rule = RepositoryRule.parse_argument(text)
            rule = RepositoryRule(name=rule.name, tags=rule.tags, platforms=tuple(given.platform))
        except ValueError as error:
            reason = error.errors()[0]["msg"] if hasattr(error, "errors") else str(error)
            raise ServiceError(f"--repository {text}: {reason}") from None
        found.append(rule.model_dump(mode="json", by_alias=True, exclude_defaults=True))
    return found


def credentials(given: argparse.Namespace) -> dict[str, str]:
    """Settings with the parent's user and password, as the replica reads them."""
    if given.username is None:
        if given.password_file or given.password_stdin:
            raise ServiceError("--username is missing: name the user that the password belongs to")
        return {}
    settings = {"CONNECTED_REGISTRY_PARENT_USERNAME": given.username}
    if given.password_file:
        settings["CONNECTED_REGISTRY_PARENT_PASSWORD_FILE"] = str(given.password_file.resolve())
    elif given.password_stdin:
        settings["CONNECTED_REGISTRY_PARENT_PASSWORD"] = sys.stdin.readline().rstrip("\r\n")
    elif sys.stdin.isatty():
        settings["CONNECTED_REGISTRY_PARENT_PASSWORD"] = getpass.getpass("Password: ")
    else:
        raise ServiceError("--password-file or --password-stdin is missing: there is no terminal")
    return settings


def environment(given: argparse.Namespace) -> dict[str, str]:
    """Settings of a replica of the parent that was named."""
    settings = {
        "CONNECTED_REGISTRY_PARENT": given.parent,
        "CONNECTED_REGISTRY_PARENT_PROTOCOL": given.protocol,
        **credentials(given),
    }
    if given.realm_host:
        settings["CONNECTED_REGISTRY_PARENT_REALM_HOSTS"] = ",".join(given.realm_host)
    if given.ca_file:
        settings["CONNECTED_REGISTRY_PARENT_CA_FILE"] = str(given.ca_file.resolve())
    return settings


def write_twin(path: Path, desired: dict[str, Any]) -> None:
    """Write desired properties, keeping what the file holds beside them."""
    try:
        kept = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        kept = {}
    document = {"schemaVersion": "1.0"} | (kept if isinstance(kept, dict) else {}) | desired
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")


def start_sample_parent(folder: Path) -> Service:
    """A ReadWrite registry of ours without a parent, with sample images in it."""
    from sample.catalogue import publish, samples

    parent = Service("parent", folder, free_listener(8090), {})
    write_twin(parent.twin, {"mode": "ReadWrite"})
    parent.start()
    for sample in samples():
        if publish(parent.address, sample):
            for tag in sample.tags:
                print(f"made {sample.repository}:{tag} for the sample parent")
    return parent


def invite(replica: Service, parent: int) -> None:
    """Say what can be tried now; ``parent`` is the process id of the sample parent, or 0."""
    answer = replica.command("images", "--json", capture=True).stdout
    images = json.loads(answer or "{}").get("images") or [{"repository": "NAME", "tag": "TAG"}]
    first = max(images, key=lambda each: (each["repository"] == HELLO, each["tag"] == "latest"))
    host, repository = replica.listen, first["repository"]
    image = f"{repository}:{first['tag']}"
    print(
        f"\nThe replica serves at {host} and stays in sync until Ctrl-C. Try, in another terminal:"
    )
    tries = [f"curl {replica.address}/v2/{repository}/tags/list"]
    if shutil.which("skopeo"):
        tries.append(f"skopeo inspect --tls-verify=false docker://{host}/{image}")
    if shutil.which("podman"):
        tries.append(f"podman run --rm --tls-verify=false {host}/{image}")
    if shutil.which("docker"):
        tries.append(f"docker run --rm {host}/{image}")
    ours = TOP / ".venv/bin/connected-registry"
    tries.append(f"{ours} status --data {replica.data}")
    for line in tries:
        print(f"  {line}")
    print(f"What it holds is set in {replica.twin}: edit it now and watch {replica.reported}")
    if parent:
        print(f"Cut the parent off with `kill {parent}` and pull again.")
    sys.stdout.flush()


def prepare(given: argparse.Namespace, folder: Path, stack: ExitStack) -> tuple[Service, int]:
    """The replica, not started yet, and the process id of its sample parent or 0."""
    if given.parent:
        settings = environment(given)
        replica = Service("replica", folder, given.listen, settings)
        write_twin(replica.twin, {"scope": {"repositories": rules(given)}})
        return replica, 0
    parent = start_sample_parent(folder)
    stack.callback(parent.stop)
    settings = {
        "CONNECTED_REGISTRY_PARENT": parent.listen,
        "CONNECTED_REGISTRY_PARENT_PROTOCOL": "http",
    }
    replica = Service("replica", folder, given.listen, settings)
    if not replica.twin.exists():
        everything = [{"name": "samples/*"}]
        link = {"maxBytesPerSecond": SAMPLE_RATE}
        write_twin(replica.twin, {"scope": {"repositories": everything}, "sync": link})
    return replica, parent.pid


def run(given: argparse.Namespace) -> int:
    """Sync, start, say what to try, wait."""
    if given.parent and not given.repository:
        raise ServiceError("--repository is missing: say what to hold, such as library/alpine:3.*")
    if given.repository and not given.parent:
        raise ServiceError("--parent is missing: say where the repositories are")
    check_free(given.listen)
    name = given.parent.replace(":", "_").replace("/", "_") if given.parent else "sample"
    with ExitStack() as stack:
        folder = (given.data or TOP / ".data" / name).resolve()
        replica, parent = prepare(given, folder, stack)
        code = replica.command("sync", f"--twin={replica.twin}").returncode
        if given.once or code not in (0, NO, OFFLINE):
            return code
        stack.callback(replica.stop)
        replica.start()
        replica.command("images")
        invite(replica, parent)
        try:
            while replica.runs:
                time.sleep(0.5)
        except Interrupted:
            return 0
        raise ServiceError(f"the replica stopped by itself; see {replica.log}", code=5)


def interrupt(number: int, _: object) -> None:
    """Unwind, once: a second signal would cut the clean-up short."""
    for each in SIGNALS:
        signal.signal(each, signal.SIG_IGN)
    if number == signal.SIGINT:
        print("\nstopping ...", file=sys.stderr)
    raise Interrupted


def main() -> int:
    """Parse, run until a signal, clean up."""
    given = arguments().parse_args()
    for number in SIGNALS:
        signal.signal(number, interrupt)
    try:
        return run(given)
    except ServiceError as error:
        print(f"scripts/run: {error}", file=sys.stderr)
        return error.code
    except Interrupted:
        return 130


if __name__ == "__main__":
    sys.exit(main())
