"""Putting a party's keys where its service looks, and never touching what the service keeps there.

A platform hands out secrets as files in its own way: as links, readable by a group, all in one flat folder, and only to
read. A service wants plain files of mode 0600 in folders of their own, beside a state that must survive. So:

    install(Path("/run/concordat/party"), home=Path("/var/lib/concordat"), keys=Path("/run/concordat/keys"))

- The source is a party's folder, or the same files in one flat folder. A name that is no part of a party's identity is
  refused: quotas, a ledger or a store out of a secret would be an old copy of them (I7, I9).
- Root keys that are pinned in the home are never replaced by others, and a manifest never by an older one.
- With `keys`, whatever is secret goes there, such as into memory, and only what is public goes into the home.
"""

from __future__ import annotations

import re
import stat
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from concordat.errors import ConfigError
from concordat.identity.files import read_public, write_private, write_public
from concordat.identity.signed_manifest import RootKeys, load_manifest

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

ROOT_KEYS: Final = "root-keys.json"
MANIFEST: Final = "manifest.json"
# Who looks into a folder with `concordat federation check` leaves this there; the home's own counts, never another's.
_NOT_TAKEN: Final = "manifest.version"
# The last of each is a gateway's, where its ledger is in PostgreSQL: by what it is let in, and whom it believes.
_SECRETS: Final = frozenset({"tls.key", "sign.key", "seal.key", "ledger.password"})
_PUBLIC: Final = frozenset({"tls.crt", "tls-roots.crt", ROOT_KEYS, MANIFEST, "ledger.crt"})
_REQUIRED: Final = frozenset({"tls.key", "sign.key", "tls.crt", "tls-roots.crt", ROOT_KEYS, MANIFEST})
# What lies in a folder of its own: its name says which, so that a flat folder can hold it too.
_NUMBER: Final = "[1-9][0-9]{0,9}"
_FOLDERS: Final = {
    "shares": re.compile(rf"{_NUMBER}-[a-z]{{1,16}}\.(?:json|transcript)", re.ASCII),
    "masks": re.compile(rf"{_NUMBER}\.key", re.ASCII),
}
_MAX_FILES: Final = 64


@dataclass(frozen=True, slots=True)
class Installed:
    """What an installation did."""

    files: int
    manifest_version: int
    """Of the manifest now in the home, which may be newer than the source's."""


@dataclass(frozen=True, slots=True)
class _File:
    path: Path
    folder: str
    """`shares`, `masks`, or empty for the home itself."""

    @property
    def secret(self) -> bool:
        return self.path.name in _SECRETS or (bool(self.folder) and self.path.suffix != ".transcript")


def install(source: Path, home: Path, *, keys: Path | None = None) -> Installed:
    """Copy the files of a party's identity into its home, secrets 0600; nothing else in the home changes.

    Args:
        source: Where the platform put the files; a secret there must be closed to others.
        home: The party's folder, which exists.
        keys: Takes the secrets in the home's stead.

    Raises:
        ConfigError: If a file is missing, unknown, too open or cannot be written, or other root keys are pinned.
        IdentityError: If the manifest does not hold against the root keys.
    """
    files = _found(source)
    for folder in (home, *([keys] if keys else [])):
        if not folder.is_dir():
            raise ConfigError(f"{folder}: there is no such folder")
    roots = RootKeys.load(source / ROOT_KEYS)
    if (home / ROOT_KEYS).exists() and RootKeys.load(home / ROOT_KEYS) != roots:
        raise ConfigError(f"{home / ROOT_KEYS}: other root keys are pinned here; who means to change them removes it")
    version, newer_kept = _manifest(source, home, roots)
    done = 0
    for file in files:
        if newer_kept and file.path.name == MANIFEST:
            continue
        _copy(file, home, keys or home)
        done += 1
    return Installed(done, version)


def _manifest(source: Path, home: Path, roots: RootKeys) -> tuple[int, bool]:
    """Return the version that the home shall have, and whether it has it already."""
    offered = load_manifest(source / MANIFEST, roots)
    if not (home / MANIFEST).exists():
        return offered.version, False
    present = load_manifest(home / MANIFEST, roots)
    return max(present.version, offered.version), present.version > offered.version


def _found(source: Path) -> list[_File]:
    try:
        found = [*_listed(source, "")]
        for folder in _FOLDERS:
            if (source / folder).is_dir():
                found += _listed(source / folder, folder)
    except OSError as error:
        raise ConfigError(f"{source}: cannot be read ({error.strerror})") from error
    names = [one.path.name for one in found]
    if len(found) > _MAX_FILES or len(set(names)) != len(names):
        raise ConfigError(f"{source}: holds a file twice, or more than {_MAX_FILES} files")
    missing = _REQUIRED - set(names)
    if missing:
        raise ConfigError(f"{source}: {', '.join(sorted(missing))} is missing")
    return found


def _listed(folder: Path, within: str) -> Iterator[_File]:
    for path in sorted(folder.iterdir()):
        # Kubernetes keeps the files in ..data and shows links to them.
        if path.name.startswith("..") or path.name == _NOT_TAKEN:
            continue
        if path.is_dir() and not within and path.name in _FOLDERS:
            continue
        if not path.is_file():
            raise ConfigError(f"{path}: is no plain file of a party's identity")
        file = _File(path, within or _place(path))
        if within and not _FOLDERS[within].fullmatch(path.name):
            raise ConfigError(f"{path}: is no part of a party's identity, and nothing else is installed")
        if file.secret and stat.S_IMODE(path.stat().st_mode) & stat.S_IRWXO:
            raise ConfigError(f"{path}: others can open this secret")
        yield file


def _place(path: Path) -> str:
    if path.name in _SECRETS | _PUBLIC:
        return ""
    for folder, form in _FOLDERS.items():
        if form.fullmatch(path.name):
            return folder
    raise ConfigError(f"{path}: is no part of a party's identity, and nothing else is installed")


def _copy(file: _File, home: Path, keys: Path) -> None:
    base = keys if file.secret or file.folder else home
    folder = base / file.folder
    if file.folder:
        folder.mkdir(mode=0o700, exist_ok=True)
    write = write_private if file.secret else write_public
    write(folder / file.path.name, read_public(file.path))
