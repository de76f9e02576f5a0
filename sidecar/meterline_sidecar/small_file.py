"""Reads files that a person named: none without an end, and none that waits.

Whatever stands in a configuration may be a device, a pipe, or larger than memory.
"""

import errno
import os
import stat
from pathlib import Path


def read_small_file(path: Path, *, bytes_max: int) -> bytes:
    """Return what is in a regular file.

    Raises:
        OSError: it cannot be read, is no regular file, or is too large; ``strerror``
            says which.
    """
    try:
        # Not blocking: to open a pipe would wait for somebody to write to it.
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except ValueError as error:
        raise OSError(errno.EINVAL, "no path has a NUL in it", repr(path)) from error
    with os.fdopen(descriptor, "rb") as file:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, "not a regular file", str(path))
        content = file.read(bytes_max + 1)
    if len(content) > bytes_max:
        raise OSError(errno.EFBIG, f"larger than {bytes_max} bytes", str(path))
    return content
