"""What a series of answers says: one lost answer overturns nothing, in neither direction."""

from __future__ import annotations


class Verdict:
    """``well`` is ``None`` as long as nobody has been asked; then the first answer decides. Where somebody counts as well
    until the contrary is shown, begin with ``well=True``."""

    __slots__ = ("_healthy_after", "_streak", "_unhealthy_after", "reason", "well")

    def __init__(self, unhealthy_after: int, healthy_after: int, well: bool | None = None) -> None:
        self._unhealthy_after = unhealthy_after
        self._healthy_after = healthy_after
        self._streak = 0
        """Answers in a row that contradict the verdict."""
        self.well = well
        self.reason = ""
        """Why it is ill: the latest bad answer; empty while it is well."""

    def inherit(self, former: Verdict) -> None:
        """It is about the same subject, which is only asked in another way from now on: until that says otherwise, it is
        held to be what it was."""
        self.well, self.reason = former.well, former.reason

    def hear(self, reason: str) -> bool:
        """An answer, empty if it is a good one; whether verdict or reason are others now."""
        good = not reason
        before = self.well, self.reason
        if self.well is None:
            self.well = good
        elif good == self.well:
            self._streak = 0
        else:
            self._streak += 1
            if self._streak >= (self._healthy_after if good else self._unhealthy_after):
                self.well = good
                self._streak = 0
        if self.well:
            self.reason = ""
        elif reason:
            self.reason = reason
        return (self.well, self.reason) != before
