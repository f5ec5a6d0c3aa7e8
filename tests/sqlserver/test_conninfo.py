"""Urls and options become the driver's connection string: encrypted, verified, and nothing smuggled in."""

from __future__ import annotations

from typing import Any

import pytest

from penstock.connectors import registry
from penstock.connectors.sqlserver import connector as module
from penstock.connectors.sqlserver.conninfo import connection_string, settings, token_holder
from penstock.core.errors import NotSupported, SpecError
from penstock.core.secret import Secret
from penstock.core.spec import ConnectionSpec


def _spec(url: str = "mssql://app@db.example:1433/shop", password: str | None = "pw", **options: Any) -> ConnectionSpec:
    return ConnectionSpec("shop", url, options, Secret(password) if password is not None else None)


def _parts(spec: ConnectionSpec) -> dict[str, str]:
    parser = pytest.importorskip("mssql_python.connection_string_parser")

    return dict(parser._ConnectionStringParser()._parse(connection_string(spec)))


def test_a_plain_url_is_encrypted_and_verified() -> None:
    found = _parts(_spec())

    assert found == {
        "server": "db.example,1433", "database": "shop", "uid": "app", "pwd": "pw", "encrypt": "yes",
        "trustservercertificate": "no", "connectretrycount": "0",
    }  # fmt: skip


@pytest.mark.parametrize("password", ["a;Encrypt=no", "b}c", "{d}", "e'f\"g", " h ", "ü;}=", "}};x={"])
def test_a_password_is_only_a_password_whatever_is_in_it(password: str) -> None:
    found = _parts(_spec(password=password))

    assert (found["pwd"], found["encrypt"]) == (password, "yes")


def test_an_instance_and_escaped_names_are_understood() -> None:
    found = _parts(_spec("sqlserver://us%40er@db%5CSALES/my%20shop"))

    assert (found["server"], found["database"], found["uid"]) == ("db\\SALES", "my shop", "us@er")


@pytest.mark.parametrize(
    ("authentication", "expected"),
    [
        ("entra", {"authentication": "ActiveDirectoryDefault"}),
        ("entra_service_principal", {"authentication": "ActiveDirectoryServicePrincipal", "uid": "app", "pwd": "pw"}),
        ("entra_managed_identity", {"authentication": "ActiveDirectoryMSI", "uid": "app"}),
        ("integrated", {"trusted_connection": "yes"}),
    ],
)
def test_each_login_says_no_more_than_it_needs(authentication: str, expected: dict[str, str]) -> None:
    found = _parts(_spec(authentication=authentication))

    assert {
        name: value for name, value in found.items() if name in ("authentication", "uid", "pwd", "trusted_connection")
    } == expected


def test_a_token_goes_to_the_driver_as_a_credential() -> None:
    spec = _spec(authentication="entra_token", access_token=Secret("abc"))
    holder = token_holder(spec)

    assert "uid" not in _parts(spec)
    assert holder is not None
    assert holder.get_token("any scope").token == "abc"
    assert "abc" not in repr(holder)
    assert token_holder(_spec()) is None


@pytest.mark.parametrize(
    "spec",
    [
        _spec("mssql://app@/shop"),
        _spec("mssql://app@db:no/shop"),
        _spec("mssql://app@db/shop?encript=yes"),
        _spec("mssql://app@db/shop?packet_size=large"),
        _spec("mssql://app@db/shop?trust_server_certificate=perhaps"),
        _spec(encrypt="sometimes"),
        _spec(authentication="entra_token"),
        _spec("mssql://db/shop"),
        _spec(password=None),
    ],
)
def test_what_is_not_understood_is_refused_with_the_connections_name(spec: ConnectionSpec) -> None:
    with pytest.raises(SpecError, match="shop") as caught:
        connection_string(spec)

    assert caught.value.hint


def test_options_may_stand_in_the_url_and_given_ones_win() -> None:
    spec = _spec("mssql://app@db/shop?read=nolock&multi_subnet_failover=true&lock_timeout_s=5", read="committed")

    assert settings(spec) == {"read": "committed", "multi_subnet_failover": True, "lock_timeout_s": 5.0}


def test_four_sessions_are_the_most_unless_the_connection_says_otherwise() -> None:
    connector = registry.connector("mssql")

    assert connector.limits(_spec())["max_connections"] == 4
    assert connector.limits(ConnectionSpec("shop", "mssql://app@db/shop", {}, Secret("x"), 8))["max_connections"] == 8


def test_a_missing_driver_is_told_with_the_extra_that_brings_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "find_spec", lambda _: None)

    with pytest.raises(NotSupported, match="mssql-python") as caught:
        registry.open_session(_spec())

    assert "penstock[sqlserver]" in caught.value.hint
