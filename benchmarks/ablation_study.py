"""An ablation study: its rows, each one run of a line, and how they are measured."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

#: What a run measured, in percent, by the column of the table.
Found = dict[str, float]


@dataclass(frozen=True)
class Row:
    """One run of a line.

    Attributes:
        table: of the paper, or "ours".
        name: unique within its table.
        paper: the paper's number, in percent, if it has one.
        numbers: "section.key=value" of params.yaml, beside the default.
        source: below data/, what is measured; its stage is run.
        seeds: by stage, the folder that takes the place of the confident seeds.
    """

    table: str
    name: str
    source: str
    paper: float | None = None
    numbers: tuple[str, ...] = ()
    seeds: Mapping[str, str] = field(default_factory=dict)

    @property
    def stage(self) -> str:
        """The stage that makes the source."""
        return self.source.split("/")[0]

    @property
    def slug(self) -> str:
        """A file name."""
        text = f"{self.table} {self.name}".lower()
        return "-".join("".join(c if c.isalnum() else " " for c in text).split())


@dataclass(frozen=True)
class Study:
    """The rows of one paper, and of our own about it.

    Attributes:
        rows: in the order of the table.
        columns: of the table.
        measure: the folder in which a row was made, and the row -> a number for each column.
    """

    rows: tuple[Row, ...]
    columns: tuple[str, ...]
    measure: Callable[[Path, Row], Found]
