"""What the parts of an evaluator ask of its place among the others; `member` is one of several."""

from __future__ import annotations

from typing import Protocol


class Membership(Protocol):
    """What the parts of an evaluator ask of it."""

    @property
    def name(self) -> str:
        """This replica's name; "" where there is only one."""

    @property
    def shared(self) -> bool:
        """Whether others may write to the store."""

    @property
    def leads(self) -> bool:
        """Whether this one does what exactly one has to do: gate runs, sweeps, looks at Envoys."""

    @property
    def trusted(self) -> bool:
        """Whether this replica's counts are its own for certain, and may be shown."""

    @property
    def live(self) -> frozenset[str]:
        """Replicas that were heard of within a lease, this one among them."""

    def stored_until_us(self, now_us: int) -> int:
        """Return until when everything that any live replica received is stored, by our clock."""

    def silent_us(self) -> int | None:
        """Return since when a silent replica may have what nobody knows of, by our clock; None: none is."""


class Solo:
    """The one evaluator of a store."""

    name = ""
    shared = False
    leads = True
    trusted = True
    live = frozenset({""})

    def stored_until_us(self, now_us: int) -> int:
        """Return now: the writer itself looks whether anything waits."""
        return now_us

    def silent_us(self) -> int | None:
        """Return None."""
        return None
