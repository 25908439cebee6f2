"""Paths and files: local ones with `os`, all others over the drivers of fsspec, by one set of functions.

- `base` says what is asked of a file system; `local` and `remote` are the two, and `private` is the local one for
  files of Headwater's own. `options` leads from a URL and the application's settings to a driver; those of S3 and
  Azure are in `objects`. `retries` and `transfers` are what a network needs.
- `paths` and `output` are what the rest of Headwater calls.
"""

from headwater.filesystem.base import (
    Entry,
    FileAlreadyExistsException,
    FileStatus,
    FileSystem,
    InvalidInputException,
    Scan,
    name_of,
)
from headwater.filesystem.compression import (
    CODEC_EXTENSIONS,
    CODEC_PACKAGE,
    CODECS,
    codec_name,
    decompressed,
    is_compressed,
    zstandard,
)
from headwater.filesystem.local import LocalFileSystem, is_at
from headwater.filesystem.options import configure, relevant
from headwater.filesystem.output import OutputDirectory
from headwater.filesystem.paths import (
    create_private,
    exists,
    expand,
    is_local,
    list_files,
    names_in,
    open_ahead,
    open_raw,
    open_read,
    open_write,
    qualify,
    remove,
    resolve,
    resolve_private,
    split_paths,
    sync,
    write_all,
    write_whole,
)
from headwater.filesystem.private import EVERYBODY, writers
from headwater.filesystem.remote import RemoteFileSystem
from headwater.filesystem.retries import TruncatedReadError

__all__ = [
    "CODECS",
    "CODEC_EXTENSIONS",
    "CODEC_PACKAGE",
    "EVERYBODY",
    "Entry",
    "FileAlreadyExistsException",
    "FileStatus",
    "FileSystem",
    "InvalidInputException",
    "LocalFileSystem",
    "OutputDirectory",
    "RemoteFileSystem",
    "Scan",
    "TruncatedReadError",
    "codec_name",
    "configure",
    "create_private",
    "decompressed",
    "exists",
    "expand",
    "is_at",
    "is_compressed",
    "is_local",
    "list_files",
    "name_of",
    "names_in",
    "open_ahead",
    "open_raw",
    "open_read",
    "open_write",
    "qualify",
    "relevant",
    "remove",
    "resolve",
    "resolve_private",
    "split_paths",
    "sync",
    "write_all",
    "write_whole",
    "writers",
    "zstandard",
]
