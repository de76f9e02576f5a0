"""Documents for people: pages that print, and files.

Owns: how an invoice looks on paper (``paper``) and as a table for spreadsheets
(``sheet``), and the paths of both pages and files.

Does not own: what stands on a document (``web/api/documents.py``).

One document on its way: the answer of the API becomes HTML, by the same template on a
page and in a file; a PDF is made of that file.
"""
