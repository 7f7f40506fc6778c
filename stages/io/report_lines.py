"""What dvc.yaml declares for the report of a line (stages/io/declarations.py)."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

from stages.engine.errors import InputError
from stages.io.declarations import Node, Output, overlap


@dataclasses.dataclass(frozen=True)
class Source:
    """Labels that were measured.

    Attributes:
        name: on the ladder.
        evaluation: the stage that measures them, without the member.
        labels: folder of label maps.
        measures: JSON of the set; beside it, the parquet of its images.
        title: of its row of the ladder.
        note: what the row says besides.
        is_refined: its number stands in the column after the CRF.
        role: "final", "baseline", "seeds" or "".
    """

    name: str
    evaluation: str
    labels: Path
    measures: Path
    title: str
    note: str
    is_refined: bool
    role: str


@dataclasses.dataclass(frozen=True)
class InstanceSource:
    """Instances that were measured.

    Attributes:
        name: on the ladder.
        table: of the instances.
        measures: JSON of the set; beside it, the parquet of its images.
        title: of its row of the ladder.
        note: what the row says besides.
        role: "final", "baseline" or "".
    """

    name: str
    table: Path
    measures: Path
    title: str
    note: str
    role: str


@dataclasses.dataclass(frozen=True)
class Rung:
    """A row of the ladder: a source as it is, and after the CRF; one of the two may be None."""

    title: str
    note: str
    raw: str | None
    refined: str | None


@dataclasses.dataclass(frozen=True)
class Line:
    """What dvc.yaml declares for a report.

    Attributes:
        title: of the page.
        saw: what it has learned from, in words; empty: boxes.
        path: the steps of the line, in a few words each.
        sources: in the order of dvc.yaml.
        shown: those with pictures in the gallery.
        final: the name of the final labels; empty where the line ends in instances.
        instances: sources of instances, in the order of dvc.yaml.
        shown_instances: those with pictures in the gallery of a line that ends in instances.
    """

    title: str
    saw: str
    path: tuple[str, ...]
    sources: tuple[Source, ...]
    shown: tuple[Source, ...]
    final: str
    instances: tuple[InstanceSource, ...]
    shown_instances: tuple[InstanceSource, ...]

    def of_role(self, role: str) -> Source | None:
        """The source with a role."""
        return next((source for source in self.sources if source.role == role), None)

    @property
    def ladder(self) -> list[Rung]:
        """The sources, with those of one title in one row."""
        rungs: dict[str, Rung] = {}
        for source in self.sources:
            rung = rungs.get(source.title, Rung(source.title, "", None, None))
            rungs[source.title] = Rung(
                rung.title,
                rung.note or source.note,
                rung.raw if source.is_refined else source.name,
                source.name if source.is_refined else rung.refined,
            )
        return list(rungs.values())


def read_line(nodes: Sequence[Node], line: str, where: Path) -> Line:
    """What a report shows, in the order of dvc.yaml.

    Raises:
        InputError: no such report, or no measured final labels; says so of `where`.
    """
    own = next((node for node in nodes if node.name == f"report@{line}"), None)
    if own is None:
        raise InputError(f"{where}: stages.report.foreach: no line {line!r}")

    def is_read(path: Path) -> bool:
        return any(overlap(path, dep) for dep in own.deps)

    measures = [
        output
        for node in nodes
        for output in node.outputs
        if output.type == "measures" and output.line == line and is_read(Path(output.path))
    ]
    sources = tuple(_source(output) for output in measures if "labels" in output.meta)
    instances = tuple(_instances(output) for output in measures if "instances" in output.meta)
    final = next((source.name for source in sources if source.role == "final"), "")
    if not final and (sources or all(source.role != "final" for source in instances)):
        expected = "expected one entry with role: final, whose measures the report depends on"
        raise InputError(f"{where}: line {line!r}: no final labels are measured; {expected}")
    return Line(
        str(own.meta.get("title", f"The line {line}")),
        str(own.meta.get("saw", "")),
        tuple(step.strip() for step in str(own.meta.get("path", "")).split(",") if step.strip()),
        sources,
        tuple(
            source
            for source in sources
            if is_read(source.labels) and (source.role == "final" or not source.is_refined)
        ),
        final,
        instances,
        tuple(source for source in instances if is_read(source.table)),
    )


def _instances(output: Output) -> InstanceSource:
    meta = output.meta
    return InstanceSource(
        output.source,
        Path(str(meta["instances"])),
        Path(output.path),
        str(meta.get("row", output.source)),
        str(meta.get("note", "")),
        str(meta.get("role", "")),
    )


def _source(output: Output) -> Source:
    meta = output.meta
    return Source(
        output.source,
        output.stage.partition("@")[0],
        Path(str(meta["labels"])),
        Path(output.path),
        str(meta.get("row", output.source)),
        str(meta.get("note", "")),
        meta.get("column") == "crf",
        str(meta.get("role", "")),
    )
