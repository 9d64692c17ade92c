"""A wall clock that a test can set, for every Python program that has this folder on its path.

``OPENMAAS_TEST_CLOCK`` names a file of eight bytes: milliseconds that are added to what the system says, at once and
while the program runs. As with a clock that an administrator or NTP sets, the monotonic clock knows nothing of it.
"""

import mmap
import os
import struct
import time

_path = os.environ.get("OPENMAAS_TEST_CLOCK")
if _path:
    with open(_path, "rb") as _file:
        _shared = mmap.mmap(_file.fileno(), 8, access=mmap.ACCESS_READ)
    _true_ns = time.time_ns

    def _time_ns() -> int:
        return _true_ns() + int(struct.unpack_from("<q", _shared)[0]) * 1_000_000

    time.time_ns = _time_ns
    time.time = lambda: _time_ns() / 1e9
