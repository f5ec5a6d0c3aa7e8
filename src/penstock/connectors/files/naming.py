"""Names as file names and back: one to one, and the same on file systems that fold case or reserve names."""

from __future__ import annotations

import hashlib
import re
from functools import lru_cache
from urllib.parse import unquote_to_bytes

from penstock.core.errors import SpecError
from penstock.core.names import TableName

# Rules: [a-z0-9_-] stands for itself; `+x` is an upper-case X; a leading `++` makes all letters of the part upper case;
# everything else is %xx of its UTF-8 bytes. `.` joins the parts of a table name. A file name never begins with `_`, `.`
# or `-` (readers take the first two for hidden files) and its stem is never a device name of Windows.
_PLAIN = re.compile(r"[a-z0-9_-]")
_ALL_PLAIN = re.compile(r"[a-z0-9_-]*")
_DEVICES = re.compile(r"(con|prn|aux|nul|com[0-9]|lpt[0-9])(\.|\Z)")
_MOST = 150
_HASHED = "%-"


def encode(text: str) -> str:
    """One part of a name as file name part; injective, lower case only, never empty for a non-empty text."""
    if _ALL_PLAIN.fullmatch(text):
        return text
    letters = [c for c in text if c.isascii() and c.isalpha()]
    if len(letters) > 1 and all(c.isupper() for c in letters):
        return "++" + "".join(_encode_character(c.lower() if c in letters else c) for c in text)
    return "".join(_encode_character(c) for c in text)


def _encode_character(character: str) -> str:
    if _PLAIN.match(character):
        return character
    if character.isascii() and character.isupper():
        return "+" + character.lower()
    return "".join(f"%{byte:02x}" for byte in character.encode("utf-8", "surrogatepass"))


def decode(text: str) -> str:
    """The inverse of encode; other text comes back in some form that encodes differently."""
    upper = text.startswith("++")
    if not upper:
        text = re.sub(r"\+([a-z])", lambda match: match[1].upper(), text)
    text = text.removeprefix("++").upper() if upper else text
    try:
        return unquote_to_bytes(text.encode("utf-8", "surrogateescape")).decode("utf-8", "surrogatepass")
    except UnicodeDecodeError:
        return text


@lru_cache(1024)
def file_name(name: TableName) -> str:
    """The folder or file stem of a table. Names longer than a file name may be keep their beginning and get a hash;
    the manifest holds them in full."""
    if any(not part or "\0" in part for part in name.parts):
        shown = ".".join(name.parts)
        raise SpecError(f"table {shown!r} has an empty part or a NUL character", "rename the table in the target")
    joined = ".".join(encode(part) for part in name.parts)
    if joined[0] in "_-" or _DEVICES.match(joined):
        joined = f"%{ord(joined[0]):02x}{joined[1:]}"
    return shortened(joined)


def shortened(encoded: str) -> str:
    """`encoded` if it fits a file name, else its beginning and a hash that no other encoded name has."""
    if len(encoded) <= _MOST:
        return encoded
    digest = hashlib.blake2b(encoded.encode(), digest_size=16).hexdigest()
    return f"{encoded[: _MOST - len(_HASHED) - len(digest)].rstrip('+%')}{_HASHED}{digest}"


def part_name(text: str) -> str:
    """A load id or part as file name."""
    if not text:
        raise SpecError("a load id or part is empty")
    return shortened(encode(text))


def table_name(stem: str) -> TableName:
    """The table of a folder or file stem: what file_name made it from, or the stem itself where it made it not."""
    if _HASHED not in stem:
        parts = tuple(decode(part) for part in stem.split("."))
        if 1 <= len(parts) <= 3 and all(parts):
            name = TableName(parts)
            if not any("\0" in part for part in parts) and file_name(name) == stem:
                return name
    return TableName((stem,))
