"""Customers by what their drafts come to, the highest first: 16 bytes for each."""

from array import array
from bisect import bisect_left, bisect_right


class Ranking:
    """Customers in the order of a number, and of their ids where it is the same.

    Numbers are of 64 bits.
    """

    def __init__(self) -> None:
        self._numbers = array("q")
        self._customers: list[str] = []

    def __len__(self) -> int:
        """Return how many there are."""
        return len(self._customers)

    def __getitem__(self, i: slice) -> list[str]:
        """Return some of them, in order."""
        return self._customers[i]

    def add(self, number: int, customer: str) -> None:
        """Take in a customer who is not here."""
        i = self._place(number, customer)
        self._numbers.insert(i, number)
        self._customers.insert(i, customer)

    def remove(self, number: int, customer: str) -> None:
        """Take out a customer who is here by this number."""
        i = self._place(number, customer)
        del self._numbers[i], self._customers[i]

    def _place(self, number: int, customer: str) -> int:
        first = bisect_left(self._numbers, number)
        end = bisect_right(self._numbers, number, first)
        return bisect_left(self._customers, customer, first, end)
