"""Where things lie in the data folder, and the private folder for sockets."""

from __future__ import annotations

import hashlib
import os
import tempfile
from pathlib import Path
from uuid import uuid4

import msgspec

from openmaas.core.bounds import SOCKET_PATH_BYTES_MAX
from openmaas.core.errors import SettingInvalid
from openmaas.store.files import private_folder, write_whole

SOCKET_NAME_BYTES_MAX = len("/dep_0123456789abcdefghjkmnpqrs.99999.sock")  #: the longest there is


class Layout(msgspec.Struct, frozen=True):
    """Every path of one installation."""

    data: str
    database_url: str = ""  # empty: an SQLite file in the folder

    @property
    def database_file(self) -> Path:
        """The SQLite file, when there is no other database."""
        return Path(self.data) / "openmaas.db"

    @property
    def database(self) -> str | Path:
        """Where the database is, as ``Database`` takes it."""
        return self.database_url or self.database_file

    @property
    def master_keys(self) -> Path:
        """The keys that seal secrets: back this file up apart from the database."""
        return Path(self.data) / "master.keys"

    @property
    def home(self) -> str:
        """The name of this folder among those that share a database; made with the folder."""
        return (Path(self.data) / "home").read_text().strip()

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
    def tuned(self) -> Path:
        """One folder for each fine-tuning job: its checkpoints, and the model that it made."""
        return Path(self.data).resolve() / "tuned"

    @property
    def jobs_lock(self) -> Path:
        """Held by the one worker of this folder."""
        return Path(self.data) / "jobs.lock"

    def files(self, folder: str) -> Path:
        """Customers' files: ``folder`` when the settings name one."""
        return Path(folder) if folder else Path(self.data) / "files"

    @property
    def run(self) -> Path:
        """Sockets. A path of at most 108 bytes fits a socket address, so it does not lie in the data folder."""
        digest = hashlib.sha256(os.fsencode(Path(self.data).resolve())).hexdigest()[:12]
        return Path(tempfile.gettempdir()) / f"openmaas-{os.getuid()}-{digest}"

    def prepare(self) -> None:
        """Make the folders. Raises ``SettingInvalid`` when one cannot be used."""
        if len(os.fsencode(self.run)) + SOCKET_NAME_BYTES_MAX > SOCKET_PATH_BYTES_MAX:
            raise SettingInvalid(
                f"{tempfile.gettempdir()} is too long a path for sockets; set TMPDIR to a shorter one", field="data"
            )
        for folder in (Path(self.data), self.journals, self.meters, self.weights, self.tuned):
            private_folder(folder)
        home = Path(self.data) / "home"
        if not home.exists():
            write_whole(home, b"%s\n" % uuid4().hex.encode())
        self.run.mkdir(mode=0o700, exist_ok=True)
        state = self.run.lstat()
        if state.st_uid != os.getuid() or state.st_mode & 0o777 != 0o700 or self.run.is_symlink():
            raise SettingInvalid(f"{self.run} belongs to somebody else; remove it", field="data")

    def socket(self, name: str) -> str:
        """The socket of ``control``, of a relay or of a deployment."""
        return str(self.run / f"{name}.sock")

    def insides(self, relays: int) -> list[str]:
        """Where so many relays are asked by the programs of this house."""
        return [self.socket(f"inside{number}") for number in range(relays)]

    def meter(self, deployment_id: str) -> str:
        """The file in which a deployment's engine counts."""
        return str(self.meters / f"{deployment_id}.jsonl")
