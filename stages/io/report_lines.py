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
class RankedSource(InstanceSource):
    """Ranked instances that were measured.

    Attributes:
        reference: table of the ranks that were taken for true.
    """

    reference: Path


@dataclasses.dataclass(frozen=True)
class Section:
    """Tables or pictures that a page shows as they are.

    Attributes:
        title: of the section.
        note: a sentence below it.
        path: a CSV file, or a folder of pictures.
        is_table: it is the former.
    """

    title: str
    note: str
    path: Path
    is_table: bool


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
        ranked: sources of ranked instances, in the order of dvc.yaml.
        sections: what has a title in dvc.yaml and is read by the report.
    """

    title: str
    saw: str
    path: tuple[str, ...]
    sources: tuple[Source, ...]
    shown: tuple[Source, ...]
    final: str
    instances: tuple[InstanceSource, ...]
    shown_instances: tuple[InstanceSource, ...]
    ranked: tuple[RankedSource, ...] = ()
    sections: tuple[Section, ...] = ()

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
    ranked = tuple(_ranked(output) for output in measures if "ranked" in output.meta)
    titled = [
        output
        for node in nodes
        for output in node.outputs
        if output.type in ("tables", "pictures") and output.line == line and "title" in output.meta
    ]
    final = next((source.name for source in sources if source.role == "final"), "")
    if not final and (sources or all(source.role != "final" for source in (*instances, *ranked))):
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
        ranked,
        tuple(_section(output) for output in titled if is_read(Path(output.path))),
    )


def _section(output: Output) -> Section:
    title, note = (str(output.meta.get(key, "")) for key in ("title", "note"))
    return Section(title, note, Path(output.path), output.type == "tables")


def _ranked(output: Output) -> RankedSource:
    own = {**output.meta, "instances": output.meta["ranked"]}
    found = _instances(dataclasses.replace(output, meta=own))
    return RankedSource(**vars(found), reference=Path(str(output.meta["reference"])))


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
