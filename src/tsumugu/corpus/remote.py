"""Files that are elsewhere, through fsspec: finding them, and reading them without silent loss.

Any `scheme://` that fsspec knows works (some need a package of their own: s3fs, gcsfs, adlfs).
A network that fails is not bad input: it is tried again, and then stops the run with an error,
instead of turning half a file into quarantined records. Nothing is cached on disk.
"""

import io
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, BinaryIO

import fsspec

from tsumugu.errors import TsumuguError

_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")
# What the file systems of fsspec call an entry's version; each knows some of them.
_VERSION_KEYS = ("etag", "ETag", "checksum", "md5Hash", "mtime", "last_modified", "LastModified", "created")
_ATTEMPTS = 3
_BUFFER_BYTES = 1 << 20


@dataclass(frozen=True)
class RemoteFile:
    """One file below a remote path. `path` is without protocol, `url` with it."""

    path: str
    url: str
    bytes: int
    version: str
    ranges: bool
    """Whether parts of it can be read; some web servers say that they send whole files only."""


class RemoteError(TsumuguError):
    """A remote file that exists could not be read to its end."""


def is_url(path: str) -> bool:
    """Whether `path` names something for fsspec, not a local path."""
    return _URL.match(path) is not None


def find(
    url: str, wildcards: str, options: Mapping[str, str | int | bool]
) -> tuple[list[RemoteFile], str, str]:
    """The files at, below, or matched by `url`; its protocol; its path without the protocol.

    Raises:
        TsumuguError: the protocol is unknown or lacks its package, or nothing is there.
    """
    try:
        system, path = fsspec.core.url_to_fs(url, **options)
        if any(mark in path for mark in wildcards):
            listed = system.glob(path, detail=True)
        elif system.isfile(path):
            listed = {path: system.info(path)}
        else:
            listed = system.find(path, detail=True)
    except Exception as error:
        raise TsumuguError(f"corpus.inputs: {url!r} cannot be listed: {_describe(error)}") from error
    if not listed:
        raise TsumuguError(f"corpus.inputs: {url!r} does not exist, or nothing is in it")
    files = [
        RemoteFile(
            path=name,
            url=system.unstrip_protocol(name),
            bytes=int(info.get("size") or 0),
            version=" ".join(f"{key}={info[key]}" for key in _VERSION_KEYS if info.get(key)),
            ranges=info.get("partial", True),
        )
        for name, info in listed.items()
        if info.get("type", "file") == "file"
    ]
    protocol = system.protocol if isinstance(system.protocol, str) else system.protocol[0]
    return files, protocol, path


def open_remote(url: str, options: Mapping[str, str | int | bool]) -> BinaryIO:
    """A seekable stream of a remote file.

    Raises:
        OSError: it is not there any more, or we may not read it.
        RemoteError: it cannot be reached.
    """
    return io.BufferedReader(_Resuming(url, options), _BUFFER_BYTES)


class _Resuming(io.RawIOBase):
    """A remote file that goes on where it was when a read fails."""

    def __init__(self, url: str, options: Mapping[str, str | int | bool]) -> None:
        self._url = url
        self._options = options
        self._position = 0
        self._stream: Any = None
        self._connect()

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        data = self._read(len(buffer))
        buffer[: len(data)] = data
        self._position += len(data)
        return len(data)

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        if whence == io.SEEK_CUR:
            offset += self._position
        elif whence == io.SEEK_END:
            offset += int(self._stream.size)
        self._position = offset
        return offset

    def tell(self) -> int:
        return self._position

    def close(self) -> None:
        if not self.closed and self._stream is not None:
            self._stream.close()
        super().close()

    def _read(self, size: int) -> bytes:
        for attempt in range(_ATTEMPTS):
            try:
                if self._stream is None:
                    self._connect()
                if self._stream.tell() != self._position:
                    self._stream.seek(self._position)
                data: bytes = self._stream.read(size)
                return data
            except (FileNotFoundError, PermissionError):
                raise
            except Exception as error:
                if attempt == _ATTEMPTS - 1:
                    raise self._error(error) from error
                self._stream = None
                time.sleep(2**attempt)
        raise AssertionError("unreachable")

    def _connect(self) -> None:
        try:
            self._stream = fsspec.open(self._url, "rb", **self._options).open()
        except (FileNotFoundError, PermissionError):
            raise
        except Exception as error:
            raise self._error(error) from error

    def _error(self, error: Exception) -> RemoteError:
        return RemoteError(
            f"{self._url} cannot be read at byte {self._position}: {_describe(error)}. "
            f"Run again when it can be reached: finished shards are kept."
        )


def _describe(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"[:500]
