"""A MariaDB of the system that tests and benchmarks start for themselves, one for each test process.

PENSTOCK_TEST_MYSQL names a server that runs already (a URL of a user who may do everything).
`python -m tests.parts.mariadb` tells which server would be used, and fails when there is none.
"""

from __future__ import annotations

import itertools
import os
import pwd
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote as url_quote
from urllib.parse import unquote, urlsplit, urlunsplit

import pymysql

from tests.parts.postgres import free_port

# What tests may give up for speed; a benchmark passes {} to keep the defaults of the installation.
FAST: Mapping[str, str] = {
    "innodb-flush-log-at-trx-commit": "2", "innodb-doublewrite": "0", "innodb-flush-method": "nosync",
    "innodb-buffer-pool-size": "64M", "innodb-log-file-size": "64M", "sync-binlog": "0",
}  # fmt: skip

# Stops the server when the tests' own process is gone, however it went: its end of the pipe closes with it.
_GUARD = """
import os, shutil, signal, sys, time
server, folder = int(sys.argv[1]), sys.argv[2]
sys.stdin.buffer.read()
try:
    os.kill(server, signal.SIGKILL)
    while True:
        os.kill(server, 0)
        time.sleep(0.05)
except ProcessLookupError:
    shutil.rmtree(folder, ignore_errors=True)
"""

_counter = itertools.count(1)


class NoMariadb(Exception):
    """No MariaDB server programs were found."""


def find_programs() -> tuple[Path, Path]:
    """The server and the program that makes its data folder. Raises NoMariadb."""
    found = []
    for names in (("mariadbd", "mysqld"), ("mariadb-install-db", "mysql_install_db")):
        path = next((place for name in names for place in _places(name)), None)
        if path is None:
            raise NoMariadb("no MariaDB server programs; install the system's package mariadb-server")
        found.append(path)
    return found[0], found[1]


def _places(name: str) -> Iterator[Path]:
    told = shutil.which(name)
    if told:
        yield Path(told)
    yield from (
        Path(folder, name) for folder in ("/usr/sbin", "/usr/local/sbin", "/usr/libexec") if Path(folder, name).exists()
    )


def version_of(server: Path) -> str:
    told = subprocess.run([server, "--no-defaults", "--version"], capture_output=True, text=True, check=True)
    return told.stdout.split(" Ver ")[-1].split()[0]


def _plain_user() -> pwd.struct_passwd | None:
    """Whom to run the server as: None is the present user, since only root is refused."""
    if os.geteuid() != 0:
        return None
    known = {entry.pw_name: entry for entry in pwd.getpwall()}
    return next(known[name] for name in ("mysql", "nobody") if name in known)


class MariadbServer:
    """A running server. `root` needs no password on loopback; `create_user` makes others.

    `settings` are server settings; tests take FAST, benchmarks {}.
    """

    def __init__(self, settings: Mapping[str, str] = FAST) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="penstock-my-"))
        self.host = "127.0.0.1"
        self.port = free_port()
        self.log = self.folder / "server.log"
        self._settings = settings
        self._process: subprocess.Popen[bytes] | None = None
        self._guard: subprocess.Popen[bytes] | None = None
        self._user = _plain_user()
        try:
            self._server, self._installer = find_programs()
            self.version = version_of(self._server)
            self._install()
            self.start()
        except BaseException:
            self.remove()
            raise

    @property
    def socket(self) -> str:
        return str(self.folder / "run.sock")

    def url(self, database: str = "", user: str = "root") -> str:
        return f"mysql://{url_quote(user, safe='')}@{self.host}:{self.port}/{url_quote(database, safe='')}"

    def connect(self, database: str = "", **more: Any) -> pymysql.Connection[Any]:
        """A connection of root's in autocommit."""
        login = {"user": "root", "password": "", "autocommit": True, **more}
        return pymysql.connect(
            host=self.host,
            port=self.port,
            database=database or None,
            charset="utf8mb4",
            ssl_disabled=True,
            **login,
        )

    def execute(self, *statements: str, database: str = "") -> list[tuple[Any, ...]]:
        """Run statements as root; the rows of the last one."""
        rows: Any = ()
        with self.connect(database) as connection, connection.cursor() as cursor:
            for statement in statements:
                cursor.execute(statement)
                rows = cursor.fetchall()
        return list(rows)

    def create_database(self) -> str:
        """A fresh empty database; returns its name."""
        name = f"t_{os.getpid()}_{next(_counter)}"
        self.execute(f"CREATE DATABASE `{name}` CHARACTER SET utf8mb4")
        return name

    def drop_database(self, name: str) -> None:
        """Drop it, and end every connection that uses it: it may hold locks."""
        for (number,) in self.execute(f"SELECT ID FROM information_schema.PROCESSLIST WHERE DB = '{name}'"):
            try:
                self.execute(f"KILL {number}")
            except pymysql.MySQLError as error:
                if error.args[0] != 1094:  # it went by itself
                    raise
        self.execute(f"DROP DATABASE IF EXISTS `{name}`")

    @property
    def is_running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def start(self) -> None:
        """Start and wait until connections are taken; nothing when it runs already."""
        if self.is_running:
            return
        own = {
            "datadir": str(self.folder / "data"), "socket": self.socket, "port": str(self.port), "bind-address": self.host,
            "pid-file": str(self.folder / "pid"), "local-infile": "1", "skip-log-bin": "", "max-connections": "200",
            "skip-name-resolve": "", "max-allowed-packet": "64M", **self._settings,
        }  # fmt: skip
        options = [f"--{name}={value}" if value else f"--{name}" for name, value in own.items()]
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [self._server, "--no-defaults", *options],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                **self._as(),
            )
        self._guard = subprocess.Popen(
            [sys.executable, "-ISc", _GUARD, str(self._process.pid), self.folder],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        self._wait()

    def stop(self, how: str = "fast") -> None:
        """Stop; "fast" ends transactions, "immediate" is a crash."""
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM if how == "fast" else signal.SIGKILL)
            try:
                self._process.wait(60)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait(10)
        self._process = None
        if self._guard is not None:
            self._guard.kill()
            self._guard.communicate()
            self._guard = None

    def restart(self, how: str = "fast") -> None:
        """Stop and start on the same port; every open connection breaks."""
        self.stop(how)
        self.start()

    def remove(self) -> None:
        """Stop at once and delete the folder. May be repeated."""
        self.stop("immediate")
        shutil.rmtree(self.folder, ignore_errors=True)

    def _as(self) -> dict[str, Any]:
        options: dict[str, Any] = {"cwd": self.folder, "env": {**os.environ, "LC_ALL": "C", "TZ": "UTC"}}
        if self._user is not None:
            options |= {"user": self._user.pw_uid, "group": self._user.pw_gid, "extra_groups": []}
        return options

    def _install(self) -> None:
        if self._user is not None:
            os.chown(self.folder, self._user.pw_uid, self._user.pw_gid)
        self.folder.chmod(0o755)
        command = [self._installer, "--no-defaults", f"--datadir={self.folder / 'data'}", "--skip-test-db"]
        made = subprocess.run(
            [*command, "--auth-root-authentication-method=normal", "--innodb-log-file-size=8M", "--skip-name-resolve"],
            capture_output=True,
            text=True,
            check=False,
            **self._as(),
        )
        if made.returncode:
            raise RuntimeError(f"mariadb-install-db failed:\n{made.stdout}{made.stderr}")

    def _wait(self, timeout_s: float = 60) -> None:
        until = time.monotonic() + timeout_s
        while True:
            try:
                self.connect().close()
                return
            except pymysql.MySQLError as error:
                if not self.is_running or time.monotonic() > until:
                    raise RuntimeError(f"MariaDB did not start:\n{self.log.read_text()}") from error
                time.sleep(0.05)  # the server tells nobody when it is ready


class ExistingMariadb(MariadbServer):
    """A server somebody else runs, named by PENSTOCK_TEST_MYSQL (a URL with a password if one is needed); it cannot be
    restarted."""

    def __init__(self, url: str) -> None:
        self._url = urlsplit(url)
        self.host = self._url.hostname or ""
        self.port = self._url.port or 3306
        with self.connect() as connection:
            self.version = str(connection.server_version)

    def url(self, database: str = "", user: str = "") -> str:
        place = self._url.netloc.rpartition("@")[2]
        netloc = f"{url_quote(user, safe='')}@{place}" if user else self._url.netloc
        return urlunsplit(("mysql", netloc, "/" + url_quote(database, safe=""), self._url.query, ""))

    def connect(self, database: str = "", **more: Any) -> pymysql.Connection[Any]:
        login = {"user": unquote(self._url.username or "root"), "password": unquote(self._url.password or "")}
        return super().connect(database, **{**login, **more})

    @property
    def is_running(self) -> bool:
        return True

    def start(self) -> None:
        return

    def stop(self, how: str = "fast") -> None:
        raise NoMariadb(f"the server at {self.host} belongs to somebody else; it is not stopped ({how})")

    def remove(self) -> None:
        return


if __name__ == "__main__":
    try:
        sys.stdout.write(f"MariaDB {version_of(find_programs()[0])}\n")
    except NoMariadb as error:
        sys.exit(str(error))
