"""Writing that never leaves half a file."""

from __future__ import annotations

import errno
import hashlib
import os
import secrets
import signal
import stat
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import IO, Any

fcntl: Any
try:
    import fcntl
except ImportError:  # not Unix: a file that is written cannot be told from one that was left
    fcntl = None

_PREFIX, _SUFFIX = ".unigrn-", ".tmp"


class WriteError(ValueError):
    """A file could not be written; what was there before is whole."""


def write_whole(files: list[tuple[str, Callable[[list[str]], Iterable[bytes]]]]) -> None:
    """Write files so that each is either the old one or the complete new one.

    Every file is written beside its place and brought to the disk; only when all are complete do
    they replace the old ones, one after the other. What a killed process left half written beside
    them is removed.

    Parameters
    ----------
    files : list of (path, contents)
        `contents` is called with the SHA-256 of the files before it, and gives the bytes in pieces.

    Raises
    ------
    WriteError
        On any failure of the operating system. Nothing is left behind on this or any other
        exception, and a KeyboardInterrupt stays one.
    """
    places, digests, current = [], [], files[0][0]
    locks = ExitStack()  # held until all is in place
    try:
        for current, contents in files:
            target = _destination(current)
            folder = os.path.dirname(target)
            _remove_leftovers(folder)
            # Long names leave no room for a suffix, so the name does not contain the old one. It
            # is noted before the file exists: an interrupt in between must find it.
            temporary = os.path.join(folder, f"{_PREFIX}{secrets.token_hex(8)}{_SUFFIX}")
            places.append((current, temporary, target))
            digests.append(_write_new(temporary, target, contents(digests), locks))
        # A crash between two of these leaves a new table beside the old FILE.meta.json. Reading
        # notices, because the latter holds the digest of the table that it belongs to.
        with _uninterrupted():
            for place in places:
                current = place[0]
                os.replace(*place[1:])
        for folder in sorted({os.path.dirname(target) for _, _, target in places}):
            _sync_folder(folder)
    except OSError as error:
        raise WriteError(_reason(current, error)) from error
    finally:
        for _, temporary, _ in places:
            with suppress(OSError):  # replaced, or never made
                os.unlink(temporary)
        locks.close()


@contextmanager
def _uninterrupted() -> Iterator[None]:
    """Hold SIGINT and SIGTERM back until the block has ended."""
    came: list[int] = []
    before: dict[int, Any] = {}
    with suppress(ValueError):  # not the main thread: it gets no signal
        for number in (signal.SIGINT, signal.SIGTERM):
            if signal.getsignal(number) is not None:  # else another than Python sees to it
                before[number] = signal.signal(number, lambda number, _: came.append(number))
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        for number in came:
            signal.raise_signal(number)


def _destination(path: str) -> str:
    """Give the real file behind a path, if a plain `open` could write it."""
    target = os.path.realpath(path)
    if not os.path.lexists(target):
        return target
    if os.path.isdir(target):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
    if not os.path.isfile(target):
        # Replacing a device or a pipe would remove it.
        raise OSError(errno.EINVAL, "it is not a regular file")
    if not os.access(target, os.W_OK):
        raise PermissionError(errno.EACCES, "the file there is read-only")
    return target


def _remove_leftovers(folder: str) -> None:
    """Remove what killed processes left: the files of ours that nobody holds a lock on."""
    with suppress(OSError):
        for entry in list(os.scandir(folder or ".")) if fcntl else ():
            if entry.name.startswith(_PREFIX) and entry.name.endswith(_SUFFIX):
                with suppress(OSError), open(entry.path, "rb") as file:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    os.unlink(entry.path)


def _open_new(path: str, locks: ExitStack) -> IO[bytes]:
    """Open a file that must not exist, with the permissions that `open` gives, and lock it."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
    while True:
        file = os.fdopen(os.open(path, flags | getattr(os, "O_CLOEXEC", 0), 0o666), "wb")
        if fcntl is None:
            return file
        lock = os.dup(file.fileno())
        locks.callback(os.close, lock)
        with suppress(OSError):  # not every file system has locks
            fcntl.flock(lock, fcntl.LOCK_EX)
        if os.fstat(lock).st_nlink:
            return file
        file.close()  # another process took it for a leftover before it was locked


def _write_new(path: str, old: str, contents: Iterable[bytes], locks: ExitStack) -> str:
    """Write a new file to the disk, with the permissions of `old` where that exists."""
    digest = hashlib.sha256()
    with _open_new(path, locks) as file:
        with suppress(FileNotFoundError):
            mode = stat.S_IMODE(os.stat(old).st_mode)
            with suppress(OSError, AttributeError):  # not every file system has permissions
                os.fchmod(file.fileno(), mode)
        for piece in contents:
            digest.update(piece)
            file.write(piece)
        file.flush()
        os.fsync(file.fileno())
    return digest.hexdigest()


def _sync_folder(folder: str) -> None:
    """Bring new names to the disk where the system has a way to."""
    with suppress(OSError, AttributeError):
        descriptor = os.open(folder or ".", os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _reason(path: str, error: OSError) -> str:
    """Give one line: which file, why, what to do."""
    advice = "choose another path"
    if error.errno in (errno.ENOSPC, errno.EFBIG, getattr(errno, "EDQUOT", None)):
        advice = "free some space or write to another disk"
    elif error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        advice = "write to a folder where you may, or change the permissions"
    elif error.errno in (errno.ENOENT, errno.ENOTDIR):
        advice = f"create the folder {os.path.dirname(os.path.abspath(path))!r} first"
    why = " ".join(str(error.strerror or error).split())
    return f"cannot write {path!r}: {why}; {advice}"
