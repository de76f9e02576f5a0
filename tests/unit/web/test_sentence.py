"""A phrase on a page is a sentence."""

import pytest

from meterline_sidecar.web.view.render import sentence


@pytest.mark.parametrize(
    ("phrase", "shown"),
    [
        ("nothing was erased", "Nothing was erased."),
        ("Nothing was erased.", "Nothing was erased."),
        ("no customer 'acmé'; did you mean `acme`?", "did you mean <code>acme</code>?"),
    ],
)
def test_it_ends_once(phrase: str, shown: str) -> None:
    assert str(sentence(phrase)).endswith(shown)
