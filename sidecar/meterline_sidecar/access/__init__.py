"""Secrets and access tokens: where they come from, and who may ask for what.

Owns the forms of a secret (file, environment, systemd credential), the file of access
tokens beside the database, and the key that signs links to the customer's page.

Does not own HTTP: which operation needs which scope is decided in ``web``.

How a token passes through: ``tokens`` creates it, shows it once and stores its digest;
a request brings the token back, and ``tokens`` finds the digest and its scope, reading
the file again when it has changed. A ``Secret`` never shows itself: whoever needs the
text calls ``reveal``.
"""
