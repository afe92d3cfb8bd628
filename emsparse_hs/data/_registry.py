# Copyright 2026 The emsparse_hs developers
# This file is part of emsparse_hs, licensed under GPL-3.0-or-later; see the file LICENSE.
"""Which example files there are, and where each is found on this machine or had from."""

from __future__ import annotations

import difflib
import hashlib
import os
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

#: Names the folder in which example files are looked for before they are downloaded.
VARIABLE = "EMSPARSE_HS_DATA"

_HERE = Path(__file__).parent


@dataclass(frozen=True)
class Entry:
    """What is known of an example file.

    Attributes
    ----------
    name : str
        Name of the file.
    folder : str
        Folder in which it lies in a local collection of example files.
    sha256 : str
        Of its content, 64 hexadecimal digits.
    licence : str
        Under which its owners give it.
    about : str
        What it is, and shape and dtype of what it holds, the scan's axes first.
    url : str or None
        Of one version of it, or None if it can't be downloaded as it is.
    source : str or None
        In words, where else it can be had.
    companions : tuple of str
        Names of the files without which it can't be read.
    shipped : bool
        If it is installed with this package.
    """

    name: str
    folder: str
    sha256: str
    licence: str
    about: str
    url: str | None = None
    source: str | None = None
    companions: tuple[str, ...] = ()
    shipped: bool = False


def names() -> list[str]:
    """Names of all example files.

    Returns
    -------
    list of str
        Sorted by folder, then by name.
    """
    table = _table()
    return sorted(table, key=lambda name: (table[name].folder, name))


def about(name: str) -> Entry:
    """Tell what an example file is, where it comes from, and under which licence.

    Parameters
    ----------
    name : str
        One of `names`.

    Returns
    -------
    Entry

    Raises
    ------
    ValueError
        If no example file has that name.
    """
    table = _table()
    if name not in table:
        close = difflib.get_close_matches(str(name), table, cutoff=0.4)
        hint = f"Names close to it: {', '.join(close)}." if close else "names() lists all."
        raise ValueError(f"There is no example file {name!r}. {hint}")
    return table[name]


def path(name: str, *, download: bool = True) -> Path:
    """Path of an example file, which is downloaded if it is not on this machine.

    It is looked for among the files installed with this package, in the folder that the
    environment variable ``EMSPARSE_HS_DATA`` names and in its sub-folder `Entry.folder`, and in
    the cache of earlier downloads. Files without which it can't be read lie beside it.

    Parameters
    ----------
    name : str
        One of `names`.
    download : bool, optional
        If False, the file is looked for on this machine only.

    Returns
    -------
    pathlib.Path

    Raises
    ------
    ValueError
        If no example file has that name, or if a file found or downloaded has another content
        than the one that was described.
    FileNotFoundError
        If the file is not on this machine and can't, or must not, be downloaded.
    ConnectionError
        If the download fails.
    """
    entry = about(name)
    group = [entry, *map(about, entry.companions)]
    for folder in _local_folders(entry):
        if all((folder / one.name).is_file() for one in group):
            for one in group:
                _verify(folder / one.name, one.sha256)
            return folder / name
    fetched = [one for one in group if download and one.url is not None]
    kept = [one for one in group if one not in fetched]
    missing = [one for one in kept if not (_cache_folder() / one.name).is_file()]
    if missing:
        raise FileNotFoundError(_where_to_get(group, missing))
    for one in kept:
        _verify(_cache_folder() / one.name, one.sha256)
    for one in fetched:
        _download(one)
    return _cache_folder() / name


@cache
def _table() -> dict[str, Entry]:
    with (_HERE / "registry.toml").open("rb") as file:
        rows = tomllib.load(file)
    for row in rows.values():
        row["companions"] = tuple(row.get("companions", ()))
    return {name: Entry(name, **row) for name, row in rows.items()}


def _local_folders(entry: Entry) -> Iterator[Path]:
    if entry.shipped:
        yield _HERE / "files"
    if named := os.environ.get(VARIABLE):
        collection = Path(named).expanduser()
        yield collection / entry.folder
        yield collection


def _cache_folder() -> Path:
    import pooch

    return Path(pooch.os_cache("emsparse_hs"))


# Once per process: a file that was right does not change while it is being analysed.
@cache
def _verify(file: Path, sha256: str) -> None:
    with file.open("rb") as content:
        found = hashlib.file_digest(content, "sha256").hexdigest()
    if found != sha256:
        raise ValueError(
            f"{file} is not the file that is described under this name: its SHA-256 is {found}, "
            f"and should be {sha256}. Remove it, or get it anew."
        )


def _download(entry: Entry) -> None:
    """Have a file in the cache: one that is there and right is not downloaded again."""
    import pooch
    import requests

    try:
        pooch.retrieve(entry.url, f"sha256:{entry.sha256}", entry.name, _cache_folder())
    except requests.RequestException as error:
        also = f" It is in this too: {entry.source}." if entry.source else ""
        raise ConnectionError(
            f"{entry.name} could not be downloaded from {entry.url}: {error}. If this machine has "
            f"no network, get the file on another one, put it into a folder, and set the "
            f"environment variable {VARIABLE} to that folder.{also}"
        ) from error


def _where_to_get(group: list[Entry], missing: list[Entry]) -> str:
    """Say what is missing, where it can be had, and where to put it."""
    files = " and ".join(one.name for one in group)
    sources = "; ".join(f"{one.name}: {one.url or one.source}" for one in missing)
    collection = os.environ.get(VARIABLE)
    place = f"the folder {collection}, named by" if collection else "a folder, to be named by"
    return (
        f"{files} can't be found{' in one folder' if len(group) > 1 else ''} on this machine. "
        f"It can be had here: {sources}. Put it into {place} the environment variable {VARIABLE}, "
        f"or into {_cache_folder()}."
    )
