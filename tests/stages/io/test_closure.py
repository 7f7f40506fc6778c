from pathlib import Path

import pytest

from stages.io.closure import import_closure


def write(root: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)


def test_closure_follows_every_form_of_import_and_nothing_else(tmp_path: Path) -> None:
    write(
        tmp_path,
        {
            "stages/__init__.py": "",
            "stages/paint.py": "import numpy\nfrom models import ink\nimport models.ops.brush\n",
            "stages/other.py": "",
            "models/__init__.py": "",
            "models/ink.py": "def f():\n    from models.colour import red\n",
            "models/colour.py": "red = 1\n",
            "models/unused.py": "",
            "models/ops/__init__.py": "",
            "models/ops/brush.py": "",
        },
    )
    found = [str(path) for path in import_closure("stages.paint", tmp_path)]
    assert found == [
        "models/__init__.py",
        "models/colour.py",
        "models/ink.py",
        "models/ops/__init__.py",
        "models/ops/brush.py",
        "stages/__init__.py",
        "stages/paint.py",
    ]


def test_an_import_circle_ends(tmp_path: Path) -> None:
    write(tmp_path, {"models/a.py": "import models.b\n", "models/b.py": "import models.a\n"})
    write(tmp_path, {"models/__init__.py": ""})
    assert len(import_closure("models.a", tmp_path)) == 3


def test_a_missing_module_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModuleNotFoundError, match=r"stages\.none"):
        import_closure("stages.none", tmp_path)
