"""``scripts/local-hub``: the hub as a program, with curl lines to try."""

from __future__ import annotations

import argparse
import asyncio
import shlex
import signal
from pathlib import Path

from local_hub.hub import LocalHub
from local_hub.module import Module


def main() -> None:
    """Run until interrupted."""
    parser = argparse.ArgumentParser(
        prog="scripts/local-hub",
        description="A local IoT Hub: MQTT over TLS for modules, the workload API on a socket, and "
        "IoT Hub's REST paths for you. Keys, certificates and twins stay in the folder.",
    )
    parser.add_argument("--folder", type=Path, default=Path(".local-hub"))
    parser.add_argument(
        "--module",
        action="append",
        metavar="DEVICE/MODULE",
        help="a module that may connect; may be repeated (default: edge1/registry)",
    )
    parser.add_argument("--address", default="127.0.0.1", help="loopback address for port 8883")
    parser.add_argument("--service-port", type=int, default=8099, help="port of the REST paths")
    arguments = parser.parse_args()
    names = arguments.module or ["edge1/registry"]
    for name in names:
        if name.count("/") != 1 or name.startswith("/") or name.endswith("/"):
            parser.error(f"--module: {name!r} is not DEVICE/MODULE")
    try:
        asyncio.run(_run(arguments, names))
    except OSError as error:
        parser.exit(1, f"the local hub cannot start on {arguments.address}: {error}\n")


async def _run(arguments: argparse.Namespace, names: list[str]) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with LocalHub(
        arguments.folder, address=arguments.address, service_port=arguments.service_port
    ) as hub:
        for name in names:
            _introduce(hub, hub.add_module(*name.split("/")))
        print(f"\nwhat modules send:  curl -N {hub.service_url}/messages/events", flush=True)
        await stop.wait()


def _introduce(hub: LocalHub, module: Module) -> None:
    print(f"\n# environment of {module.path}")
    for name, value in hub.edge_environment(module).items():
        print(f"export {name}={shlex.quote(value)}")
    twin = f"{hub.service_url}/twins/{module.device}/modules/{module.name}"
    print(f"# its twin:       curl {twin}")
    desired = '{"properties": {"desired": {"sync": {"paused": true}}}}'
    print(f"# change it:      curl -X PATCH {twin} -d '{desired}'")
    print(f'# call a method:  curl {twin}/methods -d \'{{"methodName": "ping"}}\'')


if __name__ == "__main__":
    main()
