"""TLS: verified by name and authority where asked, and by default for servers elsewhere; logins over it."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from penstock.connectors.mysql.conninfo import address, parameters
from penstock.core.errors import CredentialsRefused, SpecError
from penstock.core.secret import Secret
from penstock.core.spec import ConnectionSpec
from tests.mysql.loading import connection, opened
from tests.parts.mariadb import FAST, MariadbServer

pytestmark = [
    pytest.mark.mariadb,
    pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl: makes the certificates of these tests"),
]


def _openssl(folder: Path, *arguments: str) -> None:
    subprocess.run(["openssl", *arguments], cwd=folder, check=True, capture_output=True)


@pytest.fixture(scope="module")
def authority() -> Iterator[Path]:
    """A folder with ca.pem, server.pem for 127.0.0.1 signed by it, and other.pem of nobody's authority; the server's user
    must reach it."""
    folder = Path(tempfile.mkdtemp(prefix="penstock-tls-"))
    folder.chmod(0o755)
    for name in ("ca", "other"):
        _openssl(folder, "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", f"{name}.key", "-out", f"{name}.pem", "-days", "9",
                 "-subj", f"/CN={name}")  # fmt: skip
    _openssl(
        folder,
        "req",
        "-newkey",
        "rsa:2048",
        "-nodes",
        "-keyout",
        "server.key",
        "-out",
        "server.csr",
        "-subj",
        "/CN=server",
    )
    (folder / "names").write_text("subjectAltName=IP:127.0.0.1")
    _openssl(folder, "x509", "-req", "-in", "server.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-days", "9", "-out",
             "server.pem", "-extfile", "names")  # fmt: skip
    for file in folder.iterdir():
        file.chmod(0o644)
    yield folder
    shutil.rmtree(folder)


@pytest.fixture(scope="module")
def tls_server(authority: Path) -> Iterator[MariadbServer]:
    keys = {
        f"ssl-{kind}": str(authority / file)
        for kind, file in (("ca", "ca.pem"), ("cert", "server.pem"), ("key", "server.key"))
    }
    server = MariadbServer({**FAST, **keys})
    server.execute("CREATE USER app IDENTIFIED BY 'a secret' REQUIRE SSL", "GRANT ALL ON *.* TO app")
    yield server
    server.remove()


def _spec(server: MariadbServer, **options: str) -> ConnectionSpec:
    return replace(connection(server.url(user="app"), **options), password=Secret("a secret"))


@pytest.mark.parametrize("mode", ["preferred", "required", "verify_ca", "verify_identity"])
def test_a_server_that_is_who_it_says_is_taken(tls_server: MariadbServer, authority: Path, mode: str) -> None:
    with opened(_spec(tls_server, ssl_mode=mode, ssl_ca=str(authority / "ca.pem"))) as session:
        assert session.catalog().tables() == []


@pytest.mark.parametrize("mode", ["verify_ca", "verify_identity"])
def test_a_server_of_another_authority_is_refused(tls_server: MariadbServer, authority: Path, mode: str) -> None:
    with (
        pytest.raises(SpecError, match="certificate") as caught,
        opened(_spec(tls_server, ssl_mode=mode, ssl_ca=str(authority / "other.pem"))),
    ):
        pass

    assert "ssl_ca" in caught.value.hint


def test_a_certificate_for_another_name_is_refused_unless_only_the_authority_counts(
    tls_server: MariadbServer, authority: Path
) -> None:
    spec = _spec(tls_server, ssl_ca=str(authority / "ca.pem"))
    spec = replace(spec, url=spec.url.replace("127.0.0.1", "localhost"))
    with (
        pytest.raises(SpecError, match="certificate"),
        opened(replace(spec, options={**spec.options, "ssl_mode": "verify_identity"})),
    ):
        pass
    with opened(replace(spec, options={**spec.options, "ssl_mode": "verify_ca"})) as session:
        assert session.check().server


def test_a_wrong_password_over_tls_is_told_without_it(tls_server: MariadbServer) -> None:
    spec = replace(_spec(tls_server), password=Secret("wrong secret"))
    with pytest.raises(CredentialsRefused) as caught, opened(spec):
        pass

    assert "wrong secret" not in str(caught.value)


def test_the_default_verifies_unless_nobody_can_listen_in_between() -> None:
    modes = {
        url: address(ConnectionSpec("c", url)).ssl_mode
        for url in ("mysql://db.example.com/a", "mysql://127.0.0.1/a", "mysql://localhost/a", "mysql://10.0.0.1/a")
    }

    assert list(modes.values()) == ["verify_identity", "preferred", "preferred", "verify_identity"]
    assert parameters(ConnectionSpec("c", "mysql://db.example.com/a"))["ssl"].check_hostname is True
