"""How a stage ended."""

from dataclasses import dataclass
from enum import StrEnum


class Ending(StrEnum):
    """How a stage ended."""

    CACHED = "Cached"  # nothing to do
    RESTORED = "Restored"  # an earlier run had the same inputs; its outputs came from DVC's cache
    COMPLETED = "Completed"
    FAILED = "Failed"
    LEFT_OUT = "Left out"  # its meta names something that the data set has not
    STOPPED = "Stopped"  # it was at work when the run was stopped
    SKIPPED = "Skipped"  # something above it failed, is missing, or the run was stopped


@dataclass(frozen=True)
class Result:
    """One stage's end.

    Attributes:
        name: as DVC addresses it.
        ending: how it ended.
        seconds: wall time.
        reason: why it was skipped, left out or failed, in a few words.
        tail: the last lines it printed, when it failed.
    """

    name: str
    ending: Ending
    seconds: float = 0.0
    reason: str = ""
    tail: tuple[str, ...] = ()

    @property
    def is_good(self) -> bool:
        """Whether stages below may go on."""
        return self.ending not in (Ending.FAILED, Ending.STOPPED, Ending.SKIPPED)
