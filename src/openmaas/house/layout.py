"""Where things lie in the data folder, and the private folder for sockets."""

from __future__ import annotations

import hashlib
import os
import tempfile
from pathlib import Path

import msgspec

from openmaas.core.errors import SettingInvalid
from openmaas.store.files import private_folder


class Layout(msgspec.Struct, frozen=True):
    """Every path of one installation."""

    data: str

    @property
    def database(self) -> Path:
        """The SQLite file."""
        return Path(self.data) / "openmaas.db"

    @property
    def master_keys(self) -> Path:
        """The keys that seal secrets: back this file up apart from the database."""
        return Path(self.data) / "master.keys"

    @property
    def admin_key(self) -> Path:
        """The bootstrap admin key, mode 0600."""
        return Path(self.data) / "admin.key"

    @property
    def lock(self) -> Path:
        """Held by the one house that serves this folder."""
        return Path(self.data) / "lock"

    @property
    def journals(self) -> Path:
        """One folder for each life of a relay."""
        return Path(self.data) / "journals"

    @property
    def meters(self) -> Path:
        """The engines' own counts."""
        return Path(self.data) / "meters"

    @property
    def weights(self) -> Path:
        """Pulled models."""
        return Path(self.data) / "weights"

    @property
    def run(self) -> Path:
        """Sockets. A path of at most 108 bytes fits a socket address, so it does not lie in the data folder."""
        digest = hashlib.sha256(os.fsencode(Path(self.data).resolve())).hexdigest()[:12]
        return Path(tempfile.gettempdir()) / f"openmaas-{os.getuid()}-{digest}"

    def prepare(self) -> None:
        """Make the folders. Raises ``SettingInvalid`` when one cannot be used."""
        for folder in (Path(self.data), self.journals, self.meters, self.weights):
            private_folder(folder)
        self.run.mkdir(mode=0o700, exist_ok=True)
        state = self.run.lstat()
        if state.st_uid != os.getuid() or state.st_mode & 0o777 != 0o700 or self.run.is_symlink():
            raise SettingInvalid(f"{self.run} belongs to somebody else; remove it", field="data")

    def socket(self, name: str) -> str:
        """The socket of ``control`` or of a deployment."""
        return str(self.run / f"{name}.sock")

    def meter(self, deployment_id: str) -> str:
        """The file in which a deployment's engine counts."""
        return str(self.meters / f"{deployment_id}.jsonl")
