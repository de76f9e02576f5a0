"""What a meter sees of an event, or of some that are alike."""

from typing import Protocol


class Measured(Protocol):
    """An event, or some that are alike, as far as meters take values from it."""

    @property
    def id(self) -> int:
        """Its number."""
        ...

    @property
    def time_ms(self) -> int:
        """When it happened."""
        ...

    @property
    def n_events(self) -> int:
        """How many there are of it."""
        ...

    @property
    def subject_id(self) -> int:
        """Who it is about; 0 for nobody."""
        ...

    @property
    def flags(self) -> int:
        """What is unusual about it."""
        ...

    @property
    def quantities(self) -> str | None:
        """What the app recorded, as a JSON object."""
        ...
