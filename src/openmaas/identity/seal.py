"""Secrets at rest: AES-256-GCM under a versioned master key.

The master keys live in one file beside the database, mode 0600. ``rotate`` adds a version; the book re-wraps every
secret to it in one transaction, and older versions stay readable until then. The id of the key is authenticated with
its ciphertext, so a sealed secret cannot be moved to another row. AES-GCM: NIST SP 800-38D.
"""

from __future__ import annotations

import base64
import os
from pathlib import Path

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from openmaas.core.errors import SettingInvalid
from openmaas.store.files import write_whole

_NONCE_BYTES = 12


class _File(msgspec.Struct, forbid_unknown_fields=True):
    current: int
    keys: dict[int, str]


class MasterKeys:
    """The master keys of this installation; ``current`` seals, every version opens."""

    def __init__(self, path: Path) -> None:
        self._path = path
        if not path.exists():
            self._save(_File(1, {1: _fresh()}))
        try:
            self._file = msgspec.json.decode(path.read_bytes(), type=_File)
            self._ciphers = {version: AESGCM(base64.b64decode(text)) for version, text in self._file.keys.items()}
            assert self._file.current in self._ciphers
        except (ValueError, AssertionError) as error:
            raise SettingInvalid(f"{path} does not hold the master keys: {error}", field="master keys") from error

    @property
    def current(self) -> int:
        """The version that seals."""
        return self._file.current

    def rotate(self) -> int:
        """Add a new version and make it current. Returns its number; re-wrap the secrets next."""
        version = max(self._file.keys) + 1
        fresh = _fresh()
        self._save(_File(version, {**self._file.keys, version: fresh}))
        self._file.keys[version] = fresh
        self._file.current = version
        self._ciphers[version] = AESGCM(base64.b64decode(fresh))
        return version

    def forget_older(self) -> None:
        """Drop every version but the current one; only after all secrets were re-wrapped."""
        self._save(_File(self.current, {self.current: self._file.keys[self.current]}))
        self._ciphers = {self.current: self._ciphers[self.current]}

    def seal(self, secret: bytes, owner: str) -> bytes:
        """``secret`` encrypted for the record ``owner`` under the current version."""
        nonce = os.urandom(_NONCE_BYTES)
        return nonce + self._ciphers[self.current].encrypt(nonce, secret, owner.encode())

    def open(self, sealed: bytes, owner: str, version: int) -> bytes:
        """The secret of ``owner``. Raises ``SettingInvalid`` when the master key is not the one that sealed it."""
        cipher = self._ciphers.get(version)
        if cipher is None:
            raise SettingInvalid(f"{self._path} lacks version {version} of the master key", field="master keys")
        try:
            return cipher.decrypt(sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], owner.encode())
        except InvalidTag:
            raise SettingInvalid(f"{self._path} is not the file that sealed {owner}", field="master keys") from None

    def _save(self, file: _File) -> None:
        write_whole(self._path, msgspec.json.encode(file))


def _fresh() -> str:
    return base64.b64encode(AESGCM.generate_key(256)).decode()
