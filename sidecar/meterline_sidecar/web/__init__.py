"""What a program or a browser asks over HTTP.

Owns: paths, parameters, answers, pages, who may ask (``guard.py``), and which error
becomes which status (``problems.py``).

Does not own: SQL, prices, or any rule of billing. It asks the rooms below, and shows
what they say.

How one request passes through: ``guard.py`` decides who may ask; ``operations.py``
reads the parameters into a struct; a function of ``api/``, ``dashboard/`` or
``portal/`` asks the parts of the sidecar (``parts.py``) and returns a struct of
``answers/`` or a page drawn by ``view/``; an error that it did not handle goes through
the table in ``problems.py``.
"""
