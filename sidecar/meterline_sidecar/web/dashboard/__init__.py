"""The operator's pages: rendered on the server, complete without JavaScript.

Owns: one module and one template for each page, and the order of the pages.

Does not own: anything that it shows. Numbers come from the rooms below or from
``api/``; charts and the way numbers are written come from ``view/``.

How one page passes through: the query is read into a struct as the API's is, the parts
are asked, and ``view/render.py`` fills the template. ``live.py`` tells an open page when
to ask again.
"""
