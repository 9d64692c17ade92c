"""What a coding tool is given: a scratch repository with one file to change, and a clean home beside it."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path


class Scratch:
    """``home`` is the tool's own; whatever it finds or leaves there, it is gone with ``folder``."""

    def __init__(self, folder: Path) -> None:
        self.file = folder / "repo" / "greeting.txt"
        self.file.parent.mkdir()
        self.file.write_text("hello world\n")
        self.home = folder / "home"
        self.home.mkdir()
        self.task = f"Change hello to goodbye in {self.file}"

    def run(self, *command: str | Path, **environment: str) -> subprocess.CompletedProcess[str]:
        """Let a tool work there, with nothing of ours in its environment but ``environment``."""
        return subprocess.run(
            [str(each) for each in command],
            cwd=self.file.parent,
            env={"HOME": str(self.home), "PATH": os.environ["PATH"], **environment},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=240,
            check=False,
        )

    @property
    def changed(self) -> bool:
        return self.file.read_text() == "goodbye world\n"
