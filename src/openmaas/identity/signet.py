"""What a caller carries for us and brings back, to any relay: signed, so that it is ours, or sealed, so that it is
nobody else's. Both under the master key (``seal``), so every node reads what another wrote, and a rotation that drops
a version ends what it signed.
"""

from __future__ import annotations

import base64
import binascii
import hashlib

from openmaas.core.errors import SettingInvalid
from openmaas.identity.seal import MasterKeys

_VERSION_SIZE = 4


class Signet:
    """Signs and seals text. A purpose keeps apart what is signed for one use and shown for another."""

    def __init__(self, master: MasterKeys) -> None:
        self._master = master

    def sign(self, text: str, purpose: str) -> str:
        """A signature of ``text``: a sealed nothing that belongs to its hash."""
        return self._pack(b"", _owner(text, purpose))

    def verify(self, text: str, purpose: str, signature: str) -> bool:
        """True when ``signature`` is ours, of this text, for this purpose."""
        return self._unpack(signature, _owner(text, purpose)) == b""

    def seal(self, text: str, purpose: str) -> str:
        """``text``, readable by us only."""
        return self._pack(text.encode(), purpose)

    def open(self, sealed: str, purpose: str) -> str | None:
        """What ``seal`` was given; None when it is not of ours."""
        found = self._unpack(sealed, purpose)
        return None if found is None else found.decode()

    def _pack(self, secret: bytes, owner: str) -> str:
        version, sealed = self._master.seal(secret, owner)
        return base64.urlsafe_b64encode(version.to_bytes(_VERSION_SIZE) + sealed).decode()

    def _unpack(self, packed: str, owner: str) -> bytes | None:
        try:
            raw = base64.b64decode(packed.encode(), altchars=b"-_", validate=True)
            version = int.from_bytes(raw[:_VERSION_SIZE])
            return self._master.open(raw[_VERSION_SIZE:], owner, version)
        except (SettingInvalid, binascii.Error, UnicodeEncodeError, ValueError):
            return None


def _owner(text: str, purpose: str) -> str:
    return f"{purpose}:{hashlib.sha256(text.encode()).hexdigest()}"
