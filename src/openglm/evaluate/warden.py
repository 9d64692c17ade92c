"""The first process in a sandbox: it builds the walls, starts the program, watches the clock, and says how it ended.

It runs as a file of its own, in namespaces that `sandbox.py` made, with nothing but the standard library; it is never
imported. argv: the number of a descriptor with the order (JSON), and of one for the report. The walls, in this order:

1. a root of its own: an empty file system with what the interpreter needs in it, read-only, and a scratch folder
   (`pivot_root(2)`; no `/proc`, no home, no socket of anybody's);
2. limits on processor time, memory, processes, files (`setrlimit(2)`);
3. no capabilities, and no user of the machine;
4. no system call that makes sockets or namespaces, or reaches into other processes (`seccomp(2)`).

Without isolation only the second is built. Numbers of system calls are those of Linux on x86-64 and arm64.
"""

from __future__ import annotations

import ctypes
import errno
import json
import os
import platform
import resource
import signal
import struct
import sys
from pathlib import Path
from typing import Any

MS_NOSUID, MS_NODEV, MS_BIND, MS_REC, MS_PRIVATE = 0x2, 0x4, 0x1000, 0x4000, 0x40000
MNT_DETACH = 2
AT_FDCWD, AT_RECURSIVE, MOUNT_ATTR_RDONLY, MOUNT_ATTR_NOSUID = -100, 0x8000, 0x1, 0x2
MOUNT_SETATTR = 442  # the same on every architecture, as every call since Linux 5.0
PR_SET_SECCOMP, PR_CAPBSET_DROP, PR_SET_NO_NEW_PRIVS = 22, 24, 38
SECCOMP_MODE_FILTER = 2
CLONE_NEW = 0x7E020000  # every flag of clone(2) that asks for a namespace

MACHINES = {"x86_64": 0, "aarch64": 1}  # where in the tables below
AUDIT = (0xC000003E, 0xC00000B7)
PIVOT_ROOT, CLONE = (155, 41), (56, 220)
#: Calls that no program here may make.
REFUSED = {
    "socket": (41, 198),
    "unshare": (272, 97),
    "setns": (308, 268),
    "ptrace": (101, 117),
    "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271),
    "pidfd_getfd": (438, 438),
    "io_uring_setup": (425, 425),
    "bpf": (321, 280),
    "userfaultfd": (323, 282),
    "perf_event_open": (298, 241),
    "add_key": (248, 217),
    "request_key": (249, 218),
    "keyctl": (250, 219),
}
CLONE3 = 435
#: What an interpreter needs beside its own folder; devices are safe to give.
VISIBLE = ("/usr", "/lib", "/lib64", "/etc/ld.so.cache", "/dev/null", "/dev/zero", "/dev/urandom")

libc = ctypes.CDLL(None, use_errno=True)


def _call(name: str, *arguments: object) -> None:
    """A function of libc; raises OSError where it fails."""
    if getattr(libc, name)(*arguments) == -1:
        number = ctypes.get_errno()
        raise OSError(number, f"{name}: {os.strerror(number)}")


def machine() -> int:
    """Which numbers are those of this machine."""
    if (name := platform.machine()) not in MACHINES:
        raise OSError(f"the system calls of {name} are not known here")
    return MACHINES[name]


def enclose(root: Path, scratch_bytes: int, interpreter: str) -> None:
    """Make `root`, an empty folder, the root of all; nothing in it can be written but `/scratch`, where we are then."""
    _call("mount", b"none", bytes(root), b"tmpfs", MS_NOSUID, b"size=1m,mode=0755")
    inside = root / "scratch"
    inside.mkdir()
    for path in map(Path, (*VISIBLE, interpreter)):
        _show(path, root / path.relative_to("/"))
    attributes = struct.pack("=QQQQ", MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID, 0, 0, 0)
    call = (ctypes.c_long(MOUNT_SETATTR), AT_FDCWD, bytes(root), AT_RECURSIVE, attributes, len(attributes))
    _call("syscall", *call)
    _call("mount", b"none", bytes(inside), b"tmpfs", MS_NOSUID | MS_NODEV, b"size=%d,mode=0777" % scratch_bytes)
    os.chdir(root)
    _call("syscall", ctypes.c_long(PIVOT_ROOT[machine()]), b".", b".")
    _call("umount2", b".", MNT_DETACH)
    os.chdir("/scratch")


def _show(path: Path, place: Path) -> None:
    if not path.exists() or place.exists():
        return
    place.parent.mkdir(parents=True, exist_ok=True)
    if path.is_symlink():
        place.symlink_to(path.readlink())
        return
    place.mkdir() if path.is_dir() else place.touch()
    _call("mount", bytes(path), bytes(place), None, MS_BIND | MS_REC, None)


def limit(limits: dict[str, int]) -> None:
    """The limits of this process and all that come of it."""
    for kind, most in (
        (resource.RLIMIT_AS, limits["memory_bytes"]),
        (resource.RLIMIT_NPROC, limits["processes"]),
        (resource.RLIMIT_FSIZE, limits["scratch_bytes"]),
        (resource.RLIMIT_NOFILE, limits["files"]),
        (resource.RLIMIT_CORE, 0),
    ):
        resource.setrlimit(kind, (most, most))
    resource.setrlimit(resource.RLIMIT_CPU, (limits["cpu_s"], limits["cpu_s"] + 1))  # a signal, then the end


def become_nobody(user: int) -> None:
    """No capability, now or by a file; and no user that anything belongs to, where we are one that may choose."""
    capability = 0
    while libc.prctl(PR_CAPBSET_DROP, capability, 0, 0, 0) == 0:
        capability += 1
    if ctypes.get_errno() != errno.EINVAL:  # which says that there is no such capability: all are gone
        raise OSError(ctypes.get_errno(), "prctl: the capabilities cannot be dropped")
    if user:
        os.setgroups([])
        os.setresgid(user, user, user)
        os.setresuid(user, user, user)
    _call("prctl", PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)


def refuse_calls() -> None:
    """A filter of system calls, for this process and all that come of it; see seccomp(2) for its little language."""
    here = machine()
    load, equal, at_least, some, answer = 0x20, 0x15, 0x35, 0x45, 0x06
    kill, allow, error = 0x80000000, 0x7FFF0000, 0x00050000
    code = [(load, 0, 0, 4), (equal, 1, 0, AUDIT[here]), (answer, 0, 0, kill), (load, 0, 0, 0)]
    code += [(at_least, 0, 1, 0x40000000), (answer, 0, 0, kill)]  # the other numbering of x86-64
    for numbers in REFUSED.values():
        code += [(equal, 0, 1, numbers[here]), (answer, 0, 0, error | errno.EPERM)]
    code += [
        (equal, 0, 1, CLONE3),
        (answer, 0, 0, error | errno.ENOSYS),
    ]  # its flags are in memory; libc takes clone then
    code += [(equal, 0, 3, CLONE[here]), (load, 0, 0, 16), (some, 0, 1, CLONE_NEW), (answer, 0, 0, error | errno.EPERM)]
    code += [(answer, 0, 0, allow)]
    program = ctypes.create_string_buffer(b"".join(struct.pack("=HBBI", *each) for each in code))
    _call("prctl", PR_SET_SECCOMP, SECCOMP_MODE_FILTER, struct.pack("@HP", len(code), ctypes.addressof(program)), 0, 0)


def start(order: dict[str, Any]) -> None:
    """In the child: build what is left of the walls, and become the program. Does not return."""
    os.setsid()
    if order["isolated"]:
        become_nobody(order["user"])
    limit(order["limits"])
    if order["isolated"]:
        refuse_calls()
    where = {"PATH": "/usr/bin:/bin", "HOME": ".", "TMPDIR": os.getcwd(), "LANG": "C.UTF-8", "PYTHONHASHSEED": "0"}
    os.closerange(3, 1 << 16)
    os.execve(sys.executable, [sys.executable, "-E", "-s", "-S", "-B", *order["argv"]], where)  # noqa: S606 - there is no shell inside


def main() -> None:
    """Build, start, wait, and report: {"code", "why"}, or {"failed"} where a wall could not be built."""
    with open(int(sys.argv[1])) as given:
        order = json.load(given)
    report = int(sys.argv[2])

    def tell(**said: object) -> None:
        os.write(report, json.dumps(said).encode())
        os._exit(0)

    signal.signal(signal.SIGALRM, lambda *_: tell(code=None, why="time"))
    signal.setitimer(signal.ITIMER_REAL, order["limits"]["wall_s"])
    try:
        os.chdir(order["root"])
        if order["isolated"]:
            enclose(Path(order["root"]), order["limits"]["scratch_bytes"], order["interpreter"])
        for name, text in order["files"].items():
            Path(name).write_text(text)
    except OSError as error:
        tell(failed=str(error))
    if (child := os.fork()) == 0:
        try:
            start(order)
        except BaseException as error:  # noqa: BLE001 - a child that cannot start must not go on as a second warden
            tell(failed=str(error))
    _, status = os.waitpid(child, 0)
    code = os.waitstatus_to_exitcode(status)
    tell(code=code, why="time" if code == -signal.SIGXCPU else "ended")


if __name__ == "__main__":
    main()
