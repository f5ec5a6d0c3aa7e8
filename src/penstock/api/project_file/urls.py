"""URLs of connections: the password and the declared options taken out, so that what is left may be shown."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import unquote, unquote_plus

from penstock.core.ports import Option
from penstock.core.secret import Secret

SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*):")
_LOGIN = re.compile(r"(?P<head>[A-Za-z][\w+.-]*:(?:[A-Za-z]+:)?//)(?P<login>[^/?#]*)@(?P<rest>.*)\Z", re.DOTALL)
_CUT_PASSWORD = re.compile(r"[A-Za-z][\w+.-]*:(?:[A-Za-z]+:)?//[^/?#@:]*:(?!\d*[/?#])[^/?#@]*[/?#].*@", re.DOTALL)


@dataclass(frozen=True)
class SplitUrl:
    """A URL without secrets, the password it held, and the texts of declared options from its query part."""

    url: str
    password: Secret | None
    options: Mapping[str, str]


def is_url(text: str) -> bool:
    """Whether `text` names a place by itself; a connection name holds no colon."""
    return bool(SCHEME.match(text))


def split_url(url: str, options: Mapping[str, Option]) -> SplitUrl:
    """`url` in parts. Query parameters that are no declared option stay in the URL for the connector to judge.

    Raises ValueError for a password that would be cut.
    """
    bare, password = _without_password(url)
    front, mark, query = bare.partition("?")
    found: dict[str, str] = {}
    rest: list[str] = []
    for pair in query.split("&") if mark else []:
        name, _, value = pair.partition("=")
        if unquote_plus(name) in options:
            found[unquote_plus(name)] = unquote_plus(value)
        else:
            rest.append(pair)
    return SplitUrl(front + ("?" + "&".join(rest) if rest else ""), password, found)


def _without_password(url: str) -> tuple[str, Secret | None]:
    if _CUT_PASSWORD.match(url):
        raise ValueError("has a password with a character that ends it early: write / as %2F, ? as %3F and # as %23")
    parts = _LOGIN.match(url)
    if not parts or ":" not in parts["login"]:
        return url, None
    user, _, password = parts["login"].partition(":")
    return f"{parts['head']}{user}@{parts['rest']}", Secret(unquote(password)) if password else None
