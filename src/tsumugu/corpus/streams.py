"""Opening an input file as a stream of bytes, decompressed as its name says.

Local or remote, the stream is read forward in pieces and never held whole.
"""

import bz2
import gzip
import io
import lzma
import zlib
from contextlib import ExitStack
from pathlib import Path
from typing import BinaryIO, cast

import pyarrow as pa

from tsumugu.corpus.inputs import InputFile
from tsumugu.corpus.remote import is_url, open_remote

READ_ERRORS = (OSError, EOFError, zlib.error, lzma.LZMAError)
"""What broken files raise. A network that fails raises RemoteError, which is none of these."""


def open_stream(file: InputFile, stack: ExitStack) -> BinaryIO:
    """The bytes of `file`, decompressed if its name ends in .gz, .bz2, .xz or .zst.

    `stack` closes everything. Decompressed streams can only be read forward.

    Raises:
        OSError: the file cannot be opened.
        RemoteError: the file is remote and cannot be reached.
    """
    raw = open_raw(file, stack)
    name = file.name.lower()
    if name.endswith(".gz"):
        return cast(BinaryIO, stack.enter_context(gzip.GzipFile(fileobj=raw)))
    if name.endswith(".bz2"):
        return cast(BinaryIO, stack.enter_context(bz2.BZ2File(raw)))
    if name.endswith(".xz"):
        return cast(BinaryIO, stack.enter_context(lzma.LZMAFile(raw)))
    if name.endswith(".zst"):
        stream = pa.CompressedInputStream(pa.PythonFile(raw, mode="r"), "zstd")
        return stack.enter_context(io.BufferedReader(stream))
    return raw


def open_raw(file: InputFile, stack: ExitStack) -> BinaryIO:
    """The bytes of `file` as they lie there; seekable. Raises as `open_stream`."""
    if is_url(file.path):
        return stack.enter_context(open_remote(file.path, file.entry.options))
    return stack.enter_context(Path(file.path).open("rb"))
