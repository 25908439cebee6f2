"""Fetching the files that a program adds, into the driver's directory of added files."""

from __future__ import annotations

import filecmp
import os
import shutil
from collections.abc import MutableMapping
from urllib.parse import unquote, urlsplit

from headwater.errors import SparkException
from headwater.filesystem import open_raw, resolve


def fetch(path: str, root: str, added: MutableMapping[str, str], *, recursive: bool) -> tuple[str, str]:
    """Copy a file or directory below `root`; returns its name there and the copy's path.

    Args:
        path: a local path, `file:` URI, http(s) URL, or a URL of a file system that fsspec knows.
        root: the directory of added files.
        added: name -> source of what was added before; gets the new one.
        recursive: take a directory too.

    Raises:
        SparkException: the path is a directory and `recursive` isn't set, or other content goes by that name already.
        FileNotFoundError: there is nothing at the path.
    """
    if not isinstance(path, str):
        raise TypeError(f"path should be a str, got {path!r} of type {type(path).__name__}")
    web = path.startswith(("http://", "https://", "ftp://"))
    name = os.path.basename(unquote(urlsplit(path).path) if web else path.rstrip("/"))
    target = os.path.join(root, name)
    incoming = target + ".incoming"
    if web:
        from urllib.request import urlopen

        with urlopen(path, timeout=60) as source, open(incoming, "wb") as file:
            shutil.copyfileobj(source, file)
    else:
        filesystem, resolved = resolve(path)
        if not filesystem.exists(resolved):
            raise FileNotFoundError(f"Added file {filesystem.qualify(resolved)} does not exist")
        if filesystem.is_directory(resolved):
            if not recursive:
                raise SparkException(
                    f"Added file {filesystem.qualify(resolved)} is a directory and recursive is not turned on."
                )
            shutil.copytree(resolved, target, dirs_exist_ok=True)
            added[name] = path
            return name, target
        with open_raw(path) as source, open(incoming, "wb") as file:
            shutil.copyfileobj(source, file)
    if name in added and not filecmp.cmp(incoming, target, shallow=False):
        os.unlink(incoming)
        raise SparkException(
            f"File {name} was already added from {added[name]}, with other content than {path} has. Rename one of them."
        )
    os.replace(incoming, target)
    added[name] = path
    return name, target
