"""Write params.yaml from a preset: the embedded default, what the preset changes, what you change.

presets/default.yaml is the embedded default, whole and with its comments; every other file in
presets/ holds only what differs from it, or from the one that its first line names: `preset: NAME`.
A section of params.yaml that the default does not know, of a stage that was added, stays as it is.
"""

import shlex
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from pipelines.graph.commented_yaml import dump_commented, load_commented
from pipelines.graph.dvc_yaml import read_stages
from pipelines.graph.params import check_values, suggest
from stages.engine.command import read_params_file
from stages.engine.errors import InputError
from stages.engine.files import write_bytes
from stages.engine.plain_yaml import parse_plain, shorten

DEFAULT = "default"


def preset_names(root: Path) -> list[str]:
    """The presets there are, the default first."""
    names = sorted(path.stem for path in (root / "presets").glob("*.yaml"))
    return sorted(names, key=lambda name: name != DEFAULT)


def use_preset(root: Path, name: str, overrides: Sequence[str] = ()) -> list[str]:
    """Write params.yaml; on any error nothing is written.

    Args:
        root: the repository.
        name: a preset; "default" is the embedded data set.
        overrides: "section.key=value", the value as in YAML; they win over the preset.

    Returns:
        What differs from the default, as "section.key = value".

    Raises:
        InputError: unknown preset, section or key, or a value of the wrong type or range.
    """
    text, changes = preset_text(root, name, overrides)
    write_bytes(root / "params.yaml", text.encode())
    return changes


def preset_text(root: Path, name: str, overrides: Sequence[str]) -> tuple[str, list[str]]:
    """What `use_preset` writes and what it returns; nothing is written.

    Args:
        root: the repository.
        name: a preset; "" is params.yaml as it is.
        overrides: as there.

    Raises:
        InputError: as there.
    """
    if name:
        _check_name(root, name)
    base = root / "presets" / f"{DEFAULT}.yaml" if name else root / "params.yaml"
    read_params_file(base)  # says in one line what is wrong with it
    text = base.read_text()
    content = load_commented(text)
    if name and (own := _own_sections(root, content)):
        text += own
        content = load_commented(text)
    changes = [
        *(_read_changes(root, name) if name else ()),
        *(_parse_override(override) for override in overrides),
    ]
    for source, section, key, value in changes:
        if section not in content:
            raise InputError(f"{source}: unknown section {section!r}; {suggest(section, content)}")
        if key not in content[section]:
            hint = suggest(key, content[section])
            raise InputError(f"{source}: unknown key {section}.{key}; {hint}")
        content[section][key] = value
    if changes:
        text = dump_commented(content)
        command = shlex.join(["./seedmask", "use", name, *overrides])
        text = f"# Written by `{command}`.\n{text}" if name else text
    sections = parse_plain(text, str(root / "params.yaml"))
    check_values(sections, root / "params.yaml")
    changed = [f"{section}.{key} = {sections[section][key]}" for _, section, key, _ in changes]
    return text, changed


def _own_sections(root: Path, known: Collection[str]) -> str:
    """The sections of params.yaml for stages of dvc.yaml of which the default knows nothing.

    Raises:
        InputError: there are such stages, and params.yaml cannot be read.
    """
    file = root / "params.yaml"
    if not (file.exists() and (root / "dvc.yaml").exists()):
        return ""
    own = [name for name in read_stages(root) if name not in known]
    if not own:
        return ""
    read_params_file(file)
    text = file.read_text()
    content, lines = load_commented(text), text.splitlines()
    starts = {section: content.lc.key(section)[0] for section in content}
    blocks = ""
    for section in own:
        if section in starts:
            end = min((at for at in starts.values() if at > starts[section]), default=len(lines))
            block = lines[starts[section] : end]
            while block[-1][:1] in ("", "#"):  # what stands above the next section is not of this
                block.pop()
            blocks += "\n" + "\n".join(block) + "\n"
    return blocks


def _check_name(root: Path, name: object) -> None:
    names = preset_names(root)
    if name not in names:
        raise InputError(f"presets/{name}.yaml: no such preset; {suggest(str(name), names)}")


def _read_changes(root: Path, name: str) -> list[tuple[str, str, str, Any]]:
    """What a preset changes, its base first: file, section, key, value.

    Raises:
        InputError: as `use_preset`; or presets that are based on one another.
    """
    changes: list[tuple[str, str, str, Any]] = []
    seen: list[str] = []
    while name != DEFAULT:
        file = root / "presets" / f"{name}.yaml"
        if name in seen:
            raise InputError(f"{file}: preset: based on itself: {', '.join([*seen, name])}")
        seen.append(name)
        sections = read_params_file(file)
        base = sections.pop("preset", DEFAULT)
        _check_name(root, base)
        own = []
        for section, values in sections.items():
            if not isinstance(values, Mapping):
                found = shorten(repr(values))
                raise InputError(f"{file}: {section}: expected key: value pairs, found {found}")
            own += [(str(file), section, key, value) for key, value in values.items()]
        changes, name = own + changes, base
    return changes


def _parse_override(override: str) -> tuple[str, str, str, Any]:
    if not override.isprintable():  # it is written into a comment of one line
        raise InputError(f"{shorten(repr(override))}: expected one line, section.key=value")
    path, equals, text = override.partition("=")
    section, dot, key = path.partition(".")
    if not (equals and dot and section and key):
        raise InputError(f"{shorten(override)}: expected section.key=value")
    return override, section, key, parse_plain(text, shorten(override))
