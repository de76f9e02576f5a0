"""Compiles what is in ``native/`` as Meterline is installed or packed into a wheel.

Where that cannot be, the installation goes on, and says so: all there is in Python.
"""

import os
import shlex
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path
from typing import Any, Final
from zlib import crc32

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

PACKAGE: Final = Path(__file__).with_name("meterline")
SOURCES: Final = Path(__file__).with_name("native")
FLAGS: Final = ("-O2", "-g0", "-fPIC", "-fvisibility=hidden", "-fno-plt")


class NativeBuildHook(BuildHookInterface[Any]):
    """Adds the extension module to a wheel, or to the checkout of an editable one."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Compile it, if that can be done here."""
        if self.target_name != "wheel" or not _is_for_this_interpreter():
            return
        name = f"native{sysconfig.get_config_var('EXT_SUFFIX')}"
        is_editable = version == "editable"
        self._folder = tempfile.TemporaryDirectory(
            dir=PACKAGE if is_editable else None, prefix=".native-"
        )
        made = Path(self._folder.name) / name
        if problem := _compile(made):
            self.app.display_warning(
                f"meterline: requests go the way in Python, without a compiled part: {problem}"
            )
        elif is_editable:
            made.replace(PACKAGE / name)  # who runs has the one before
        else:
            build_data["pure_python"] = False
            build_data["infer_tag"] = True
            build_data["force_include"][str(made)] = f"meterline/{name}"

    def finalize(
        self, version: str, build_data: dict[str, Any], artifact_path: str
    ) -> None:
        """Remove what stands in a wheel now."""
        if hasattr(self, "_folder"):
            self._folder.cleanup()


def _is_for_this_interpreter() -> bool:
    return (
        sys.platform == "linux"  # where it was tried
        and sys.implementation.name == "cpython"
        and not sysconfig.get_config_var("Py_GIL_DISABLED")
        and os.environ.get("METERLINE_PURE", "").lower()
        in ("", "0", "false", "no", "off")
    )


def _crc() -> int:
    """As ``meterline/compiled.py``, which compares it in a checkout."""
    return crc32(b"".join(path.read_bytes() for path in sorted(SOURCES.glob("*.c"))))


def _compile(target: Path) -> str:
    """Compile into ``target``; return why that failed, or nothing."""
    given = sysconfig.get_config_vars("LDSHARED", "CFLAGS")
    linking, flags = (shlex.split(str(text or "")) for text in given)
    if "CC" in os.environ:
        linking[:1] = shlex.split(os.environ["CC"])
    command = [
        *(*linking, *flags, *FLAGS),
        f"-I{sysconfig.get_path('include')}",
        f"-DSOURCE_CRC={_crc()}LL",
        *("native.c", "-o", str(target)),  # it takes in the others
    ]
    try:
        done = subprocess.run(  # noqa: S603 - our own command line
            command, cwd=SOURCES, capture_output=True, text=True, check=False
        )
    except OSError as error:
        return f"there is no compiler: {error}"
    if done.returncode:
        return next(
            iter(done.stderr.splitlines()), f"the compiler failed: {command[0]}"
        )
    return ""
