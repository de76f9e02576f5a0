"""What holds for every test."""

import os

from hypothesis import settings

# Timing is never asserted: a busy machine is no failure. A build must come out the
# same twice, so there the examples are fixed; everywhere else they are new each time.
settings.register_profile("here", deadline=None, print_blob=True)
settings.register_profile("ci", deadline=None, print_blob=True, derandomize=True)
# pytest --hypothesis-profile thorough: looks far longer for what is rare.
settings.register_profile(
    "thorough", deadline=None, print_blob=True, max_examples=10_000
)
settings.load_profile("ci" if os.environ.get("CI") else "here")
