"""What is logged: by ``logging`` where the app has loaded it, and else as it would be.

An app that has not has no handlers: a warning's text would stand alone on stderr, and
what is less would not be seen. To load ``logging`` for that takes longer than most of
Meterline, and a thread that imports can leave a forked child waiting for ever.
"""

import sys
from contextlib import suppress
from typing import Any, Final

DEBUG: Final = 10
INFO: Final = 20
WARNING: Final = 30
ERROR: Final = 40


class Log:
    """The logger of one name, which is asked for when there is something to say.

    Args:
        name: as that of ``logging.getLogger``.
    """

    __slots__ = ("_name",)

    def __init__(self, name: str) -> None:
        self._name = name

    def debug(self, text: str, *given: object, exc_info: bool = False) -> None:
        """Log what only somebody who looks for a fault wants to know."""
        self._log(DEBUG, text, given, exc_info=exc_info)

    def info(self, text: str, *given: object) -> None:
        """Log what an operator may await."""
        self._log(INFO, text, given, exc_info=False)

    def warning(self, text: str, *given: object, exc_info: bool = False) -> None:
        """Log what was not expected; nothing is lost."""
        self._log(WARNING, text, given, exc_info=exc_info)

    def error(self, text: str, *given: object, exc_info: bool = False) -> None:
        """Log that something is lost."""
        self._log(ERROR, text, given, exc_info=exc_info)

    def _log(
        self, level: int, text: str, given: tuple[object, ...], *, exc_info: bool
    ) -> None:
        # Another thread may be loading it right now, and this is the last that it makes
        # of what is needed here.
        get_logger: Any = getattr(sys.modules.get("logging"), "getLogger", None)
        if get_logger is not None:
            logger = get_logger(self._name)
            # The line that is named is that of who calls the methods above.
            logger.log(level, text, *given, exc_info=exc_info, stacklevel=3)
        elif level >= WARNING:
            lines = [text % given, *(_traceback() if exc_info else ())]
            # There is none, as without a console; or it is closed, or its end is gone.
            with suppress(AttributeError, OSError, ValueError):
                sys.stderr.write("".join(f"{line}\n" for line in lines))


def _traceback() -> list[str]:
    """Return the lines that say where what is being handled was raised."""
    error = sys.exception()
    if error is None:
        return []
    lines = ["Traceback (most recent call last):"]
    traceback = error.__traceback__
    while traceback is not None:
        code = traceback.tb_frame.f_code
        where = f'  File "{code.co_filename}", line {traceback.tb_lineno}'
        lines.append(f"{where}, in {code.co_name}")
        traceback = traceback.tb_next
    return [*lines, f"{type(error).__name__}: {error}"]
