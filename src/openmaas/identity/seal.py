"""Secrets at rest: AES-256-GCM under a versioned master key.

The master keys live in one file beside the database, mode 0600; ``house/rotation.py`` renews them. The id of a record
is authenticated with its ciphertext, so a sealed secret cannot be moved to another row. AES-GCM: NIST SP 800-38D.
"""

from __future__ import annotations

import base64
import os
from pathlib import Path
from typing import NamedTuple

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from openmaas.core.errors import SettingInvalid
from openmaas.store.files import write_whole

_NONCE_BYTES = 12


class _File(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    current: int
    keys: dict[int, str]


class Sealed(NamedTuple):
    """A secret at rest, and the version of the master key that opens it."""

    version: int
    secret: bytes


class MasterKeys:
    """The master keys of this installation: one version seals, every version opens.

    Another process may rotate them. So sealing looks whether the file has changed, and opening reads it again when it
    meets a version it does not know.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        if not path.exists():
            self._save(_File(1, {1: _fresh()}))
        self._load()

    def seal(self, secret: bytes, owner: str) -> Sealed:
        """``secret`` encrypted for the record ``owner``. Call it in the transaction that stores it: a rotation that
        the transaction has not seen then seals it again."""
        if self._state() != self._loaded:
            self._load()
        nonce = os.urandom(_NONCE_BYTES)
        version = self._file.current
        return Sealed(version, nonce + self._ciphers[version].encrypt(nonce, secret, owner.encode()))

    def open(self, sealed: bytes, owner: str, version: int) -> bytes:
        """The secret of ``owner``. Raises ``SettingInvalid`` when the master key is not the one that sealed it."""
        if version not in self._ciphers:
            self._load()
        cipher = self._ciphers.get(version)
        if cipher is None:
            raise SettingInvalid(f"{self._path} lacks version {version} of the master key", field="master keys")
        try:
            return cipher.decrypt(sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], owner.encode())
        except InvalidTag:
            raise SettingInvalid(f"{self._path} is not the file that sealed {owner}", field="master keys") from None

    @property
    def current(self) -> int:
        """The version that seals."""
        return self._file.current

    @property
    def newest(self) -> int:
        """The last that was added; above ``current`` while it only opens."""
        return max(self._file.keys)

    @property
    def rotating(self) -> bool:
        """True while there is more than one version."""
        return len(self._file.keys) > 1

    def add_version(self, *, seals: bool = True) -> int:
        """Make a new version the one that seals, or one that only opens yet; the others still open. One that was added
        and does not seal yet is taken. Returns its number."""
        version = self.newest if self.newest > self.current else self.newest + 1
        keys = {version: _fresh(), **self._file.keys}
        self._save(_File(version if seals else self.current, dict(sorted(keys.items()))))
        self._load()
        return version

    def keep_only(self, versions: set[int]) -> None:
        """Drop every other version."""
        self._save(_File(self._file.current, {n: key for n, key in self._file.keys.items() if n in versions}))
        self._load()

    def _load(self) -> None:
        try:
            self._loaded = self._state()  # before reading: a change in between is seen next time
            self._file = msgspec.json.decode(self._path.read_bytes(), type=_File)
            self._ciphers = {version: AESGCM(base64.b64decode(text)) for version, text in self._file.keys.items()}
            if self._file.current not in self._ciphers:
                raise ValueError("the current version is missing")
        except (OSError, ValueError) as error:
            raise SettingInvalid(f"{self._path} does not hold the master keys: {error}", field="master keys") from error

    def _state(self) -> tuple[int, int]:
        found = self._path.stat()
        return found.st_ino, found.st_mtime_ns  # every write makes a new file, and a clock tick may hold two of them

    def _save(self, file: _File) -> None:
        write_whole(self._path, msgspec.json.encode(file))


def _fresh() -> str:
    return base64.b64encode(AESGCM.generate_key(256)).decode()
