"""Object stores that come up by themselves: moto's server for S3 (a Python package), Azurite for Azure (a Node package)."""

from __future__ import annotations

import base64
import hashlib
import hmac
import importlib.util
import itertools
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from penstock.core.secret import Secret
from penstock.core.spec import ConnectionSpec

AZURITE = "PENSTOCK_TEST_AZURITE"
ACCOUNT = "devstoreaccount1"
# The key that every Azurite has; it opens nothing else.
ACCOUNT_KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
_API = "2021-12-02"

# Stops the server when the tests' own process is gone, however it went: its end of the pipe closes with it.
_GUARD = """
import os, signal, sys
sys.stdin.buffer.read()
try:
    os.kill(int(sys.argv[1]), signal.SIGKILL)
except ProcessLookupError:
    pass
"""

_counter = itertools.count(1)


def has_moto() -> bool:
    return bool(importlib.util.find_spec("moto") and importlib.util.find_spec("flask"))


def find_azurite() -> Path | None:
    """Azurite's blob program: of PENSTOCK_TEST_AZURITE, of `.test-parts` (the Makefile puts it there), or of PATH."""
    if not shutil.which("node"):
        return None
    named = os.environ.get(AZURITE)
    home = Path(named) if named else Path(__file__).parents[2] / ".test-parts" / "node_modules" / "azurite"
    program = home / "dist" / "src" / "blob" / "main.js"
    if program.exists():
        return program
    found = shutil.which("azurite-blob")
    return Path(found).resolve() if found and not named else None


def free_port() -> int:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        return int(listening.getsockname()[1])


class Emulator:
    """A server process of these tests, gone when they are."""

    def __init__(self, command: Sequence[str], port: int, ready: str) -> None:
        self.url = f"http://127.0.0.1:{port}"
        self._log = tempfile.TemporaryFile()  # noqa: SIM115
        self._process = subprocess.Popen(
            command, stdout=self._log, stderr=self._log, stdin=subprocess.DEVNULL, cwd=tempfile.gettempdir()
        )
        self._guard = subprocess.Popen(
            [sys.executable, "-S", "-c", _GUARD, str(self._process.pid)],
            stdin=subprocess.PIPE,
            start_new_session=True,
        )
        self._wait(f"{self.url}{ready}")

    def _wait(self, url: str) -> None:
        until = time.monotonic() + 120
        while time.monotonic() < until and self._process.poll() is None:
            try:
                with urllib.request.urlopen(url, timeout=10):
                    return
            except urllib.error.HTTPError as error:
                error.close()
                return
            except OSError:
                time.sleep(0.05)
        self._log.seek(0)
        raise RuntimeError(f"the emulator did not come up: {self._log.read().decode(errors='replace')[-2000:]}")

    def remove(self) -> None:
        self._process.kill()
        self._process.wait()
        assert self._guard.stdin is not None
        self._guard.stdin.close()
        self._guard.wait()
        self._log.close()


class S3(Emulator):
    """moto's S3."""

    def __init__(self) -> None:
        port = free_port()
        super().__init__(
            [sys.executable, "-W", "ignore", "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)],
            port,
            "/moto-api/",
        )

    def new_bucket(self) -> str:
        name = f"lake{os.getpid()}-{next(_counter)}"
        _send(urllib.request.Request(f"{self.url}/{name}", method="PUT"))
        return name

    def options(self, **more: Any) -> dict[str, Any]:
        keys = {"access_key_id": "AKIATESTS", "secret_access_key": Secret("of-the-tests"), "region": "us-east-1"}
        return {"endpoint": self.url, **keys, **more}

    def connection(self, bucket: str, prefix: str = "", **more: Any) -> ConnectionSpec:
        return ConnectionSpec("lake", f"s3://{bucket}/{prefix}".rstrip("/"), self.options(**more))


class Azure(Emulator):
    """Azurite's blob service."""

    def __init__(self, program: Path) -> None:
        port = free_port()
        command = ["node", str(program), "--blobHost", "127.0.0.1", "--blobPort", str(port), "--inMemoryPersistence"]
        super().__init__([*command, "--skipApiVersionCheck", "--disableTelemetry", "--silent"], port, "/")
        self.endpoint = f"{self.url}/{ACCOUNT}"

    def new_container(self) -> str:
        name = f"lake{os.getpid()}-{next(_counter)}"
        path = f"/{ACCOUNT}/{name}"
        headers = {"x-ms-date": datetime.now(UTC).strftime("%a, %d %b %Y %H:%M:%S GMT"), "x-ms-version": _API}
        named = "".join(f"{key}:{value}\n" for key, value in headers.items())
        signed = f"PUT\n\n\n\n\n\n\n\n\n\n\n\n{named}/{ACCOUNT}{path}\nrestype:container"
        key = hmac.new(base64.b64decode(ACCOUNT_KEY), signed.encode(), hashlib.sha256).digest()
        headers["Authorization"] = f"SharedKey {ACCOUNT}:{base64.b64encode(key).decode()}"
        headers["Content-Length"] = "0"
        _send(urllib.request.Request(f"{self.url}{path}?restype=container", method="PUT", headers=headers))
        return name

    def options(self, **more: Any) -> dict[str, Any]:
        return {"endpoint": self.endpoint, "account": ACCOUNT, "account_key": Secret(ACCOUNT_KEY), **more}

    def connection(self, container: str, prefix: str = "", **more: Any) -> ConnectionSpec:
        return ConnectionSpec("lake", f"az://{container}/{prefix}".rstrip("/"), self.options(**more))


def _send(request: urllib.request.Request) -> None:
    with urllib.request.urlopen(request, timeout=60) as answer:
        answer.read()


def plain_options(options: Mapping[str, Any]) -> dict[str, Any]:
    """Options as a project file holds them."""
    return {key: value.reveal() if isinstance(value, Secret) else value for key, value in options.items()}


def told() -> str:
    """Which stores the tests can start, in words."""
    azurite = "azurite for Azure" if find_azurite() else "no azurite: Azure is skipped"
    return f"{'moto for S3' if has_moto() else 'no moto: S3 is skipped'}, {azurite}"


if __name__ == "__main__":
    sys.stdout.write(f"object stores: {told()}\n")
    sys.exit(0 if find_azurite() else "no Azurite")
