"""The one atomic step of a publish: exchanging two folders, and making renames durable."""

from __future__ import annotations

import ctypes
import errno
import os
import shutil
from functools import cache
from typing import Any

_AT_FDCWD = -100
_RENAME_EXCHANGE = 2
_UNSUPPORTED = (errno.ENOSYS, errno.EINVAL, errno.EOPNOTSUPP)


@cache
def _renameat2() -> Any:
    """The libc function, or None where there is none (other systems, old C libraries)."""
    if os.name != "posix":
        return None
    function = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if function is not None:
        function.argtypes = [ctypes.c_int, ctypes.c_char_p, ctypes.c_int, ctypes.c_char_p, ctypes.c_uint]
        function.restype = ctypes.c_int
    return function


def exchange(first: str, second: str) -> bool:
    """Swap two existing paths in one step. False, changing nothing, where the system or file system cannot."""
    function = _renameat2()
    if function is None:
        return False
    if function(_AT_FDCWD, os.fsencode(first), _AT_FDCWD, os.fsencode(second), _RENAME_EXCHANGE) == 0:
        return True
    code = ctypes.get_errno()
    if code in _UNSUPPORTED:
        return False
    raise OSError(code, os.strerror(code), first, None, second)


def way_of_replacing(target: str, beside: str) -> str:
    """In words how replace_folder will put a folder in the place of `target`; tried out in the folder `beside`."""
    if not os.path.lexists(target):
        return "renamed the new folder into place"
    names = [os.path.join(beside, name) for name in ("exchange-a", "exchange-b")]
    for name in names:
        os.makedirs(name, exist_ok=True)
    works = exchange(*names)
    for name in names:
        os.rmdir(name)
    if works:
        return "exchanged the old folder for the new one in one step"
    return "renamed the old folder away and the new one into place, since this system cannot exchange folders"


def replace_folder(new: str, target: str) -> None:
    """Put the folder `new` in the place of `target`; afterwards `new` is the old version, or gone if there was none.

    Without an exchange in the system there is a moment without the table between two renames.
    """
    is_new = not os.path.lexists(target)
    if is_new:
        os.rename(new, target)
    elif not exchange(new, target):
        away = f"{new}.away"
        os.rename(target, away)
        os.rename(new, target)
        os.rename(away, new)
    sync_folder(os.path.dirname(target))
    if not is_new:
        sync_folder(os.path.dirname(new))


def sync_folder(path: str) -> None:
    """Make the names in a folder durable, where the system can."""
    if os.name != "posix":
        return
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in _UNSUPPORTED:
            raise
    finally:
        os.close(descriptor)


def link_or_copy(source: str, target: str) -> None:
    """The same file under a second name, or a durable copy where the file system has no hard links."""
    try:
        os.link(source, target, follow_symlinks=False)
    except FileExistsError:
        if os.path.samefile(source, target):
            return
        os.unlink(target)
        link_or_copy(source, target)
    except OSError as error:
        if error.errno not in (errno.EPERM, errno.EXDEV, errno.EMLINK, errno.ENOTSUP, errno.ENOSYS):
            raise
        copied = f"{target}.copy"
        shutil.copyfile(source, copied)
        with open(copied, "rb+") as file:
            os.fsync(file.fileno())
        os.replace(copied, target)
