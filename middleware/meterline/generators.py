"""Async generators that nobody iterates to their end: whose request they are of.

Such a generator is closed by the event loop, in a task that it makes in the context of
whoever happened to run when the generator was found: often the next customer's. So the
request in which a generator began is remembered, and its end runs as part of that.
"""

import sys
from _weakref import ref  # as in `stray`
from collections.abc import Callable
from contextvars import copy_context
from functools import partial
from typing import Any, Final

from msgspec import Struct

CLOSING: Final = "async_generator_athrow"  # the type of what ``aclose`` returns

Hook = Callable[[Any], None]


class Known(Struct, frozen=True):
    """A generator that began in a request and has not ended."""

    reference: "ref[Any]"
    owner: Any


class Generators:
    """Remembers the owners of async generators, in every event loop that it is told of.

    Args:
        is_collecting: tells whether the garbage collector runs, in this thread.
    """

    _owner: Callable[[], Any]
    _adopt: Hook

    def __init__(self, *, is_collecting: Callable[[], bool]) -> None:
        self._is_collecting = is_collecting
        self._known: dict[int, Known] = {}
        # The weak reference to a generator dies just before its finalizer is called;
        # to one that came to its end, none will be.
        self._dying: dict[int, Known] = {}

    def tell_owners(self, owner: Callable[[], Any], adopt: Hook) -> None:
        """Say how owners are found, before anything is watched.

        Args:
            owner: returns whose the running code is, ``None`` where that is not known.
            adopt: makes the current context that of an owner.
        """
        self._owner = owner
        self._adopt = adopt

    @property
    def remembered(self) -> int:
        """How many generators there are whose owners are known."""
        return len(self._known) + len(self._dying)

    def watch(self) -> None:
        """Watch the generators of the running loop from now on."""
        hooks = sys.get_asyncgen_hooks()
        # By index: a third of what unpacking these costs.
        if type(hooks[0]) is not Begin and (end := hooks[1]) is not None:
            # Those of the loop are called as before, and come back with its end.
            sys.set_asyncgen_hooks(Begin(self, hooks[0]), partial(self._end, end))

    def begin(self, generator: Any) -> None:
        """Remember whose ``generator`` is."""
        if self._dying and not self._is_collecting():
            self._dying.clear()
        if (owner := self._owner()) is not None:
            key = id(generator)
            self._known[key] = Known(ref(generator, partial(self._die, key)), owner)

    def _die(self, key: int, _reference: Any) -> None:
        if (known := self._known.pop(key, None)) is not None:
            self._dying[key] = known

    def _end(self, finalizer: Hook, generator: Any) -> None:
        """Close ``generator`` as the loop does, in a context of its owner."""
        key = id(generator)
        known = self._dying.pop(key, None) or self._known.pop(key, None)
        if known is None:
            finalizer(generator)
            return
        context = copy_context()
        context.run(self._adopt, known.owner)
        context.run(finalizer, generator)  # the loop copies it for the task


class Begin:
    """The hook for a generator's first step; its class shows that it is there."""

    def __init__(self, generators: Generators, inner: Hook | None) -> None:
        self._generators = generators
        self._inner = inner

    def __call__(self, generator: Any) -> None:
        """Remember whose it is, and tell the loop."""
        self._generators.begin(generator)
        if self._inner is not None:
            self._inner(generator)


def is_closing() -> bool:
    """Tell whether the running task closes a generator that nobody finished."""
    if not isinstance(sys.exception(), GeneratorExit):
        return False
    asyncio: Any = sys.modules.get("asyncio")
    if asyncio is None or asyncio._get_running_loop() is None:
        return False
    task = asyncio.current_task()
    return task is not None and type(task.get_coro()).__name__ == CLOSING
