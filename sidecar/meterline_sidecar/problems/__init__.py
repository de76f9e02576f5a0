"""What can be wrong: the one list of problems, for pages, commands, ``/status``, docs.

Owns: the code of each problem, how bad it is, what it means and what to do about it
(``running`` for events and the host, ``money`` for what is billed), and how one that was
found is said (``found``).

Does not own: finding them. Each room finds its own, ``web.health`` puts them together.

A problem passes from where it was found, as a ``Found`` with its numbers and names,
through ``/status`` to whoever can act on it.
"""
