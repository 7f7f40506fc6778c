from pathlib import Path

import pytest

from stages.engine.closure import all_closures, import_closure, read_lock, stage_closure
from stages.engine.errors import InputError


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


CODE = '''
"""What it is."""

import numpy as np


def double(x: int, *, by: int = 2) -> float:
    """Twice x."""
    if x:
        return float(np.sqrt(x * x)) * by  # positive
    return 0.0
'''
#: What does nothing, and what does something, each as a replacement in CODE.
SAME = {
    "a comment": ("# positive", "# not negative"),
    "a docstring": ("Twice x.", "Two times x.\n\n    Args:\n        x: any.\n    "),
    "no docstring": ('    """Twice x."""\n', ""),
    "the module's docstring": ("What it is.", "What it was."),
    "blank lines": ("np\n\n\n", "np\n\n\n\n\n"),
    "a line break": ("x: int, *, by", "x: int,\n    *,\n    by"),
    "brackets": ("x * x", "(x * x)"),
}
OTHER = {
    "a number": ("by: int = 2", "by: int = 3"),
    "an operator": ("x * x", "x + x"),
    "a name": ("return 0.0", "return -0.0"),
    "a default": ("*, by", "by"),
    "an annotation": ("-> float", "-> int"),
    "a text that is used": ("return 0.0", "return float('0')"),
    "a branch": ("    if x:", "    if not x:"),
    "an import": ("numpy as np", "numpy as np, math"),
    "a decorator": ("def double", "@staticmethod\ndef double"),
    "a line more": ("    return 0.0", "    x = 0\n    return 0.0"),
}


def stage_hash(root: Path, code: str) -> str:
    write(root, {"stages/__init__.py": "", "stages/paint.py": code})
    return stage_closure("paint", root, {"numpy": "2.4.6"})["stages/paint.py"]


@pytest.mark.parametrize("edit", SAME)
def test_what_does_nothing_leaves_the_hash(tmp_path: Path, edit: str) -> None:
    edited = CODE.replace(*SAME[edit])
    assert edited != CODE
    assert stage_hash(tmp_path, edited) == stage_hash(tmp_path, CODE)


@pytest.mark.parametrize("edit", OTHER)
def test_what_does_something_changes_the_hash(tmp_path: Path, edit: str) -> None:
    assert stage_hash(tmp_path, CODE.replace(*OTHER[edit])) != stage_hash(tmp_path, CODE)


LOCK = """\
# a comment
numpy==2.4.6
Pillow==13.0.0 ; sys_platform == 'linux'
opencv_python.headless==5.0.0.93
torch==2.14.1 ; sys_platform == 'linux'
torch==2.14.0 ; sys_platform == 'darwin'
"""


def test_a_lock_is_read_by_plain_names_with_the_versions_of_all_machines(tmp_path: Path) -> None:
    write(tmp_path, {"requirements.lock": LOCK})
    assert read_lock(tmp_path / "requirements.lock") == {
        "numpy": "2.4.6",
        "pillow": "13.0.0",
        "opencv-python-headless": "5.0.0.93",
        "torch": "2.14.0 or 2.14.1",
    }


@pytest.mark.parametrize("line", ["numpy>=2", "numpy", "==1", "numpy=="])
def test_a_line_that_pins_nothing_is_refused(tmp_path: Path, line: str) -> None:
    write(tmp_path, {"requirements.lock": f"torch==2\n{line}\n"})
    with pytest.raises(InputError, match=r"requirements\.lock: line 2: .*expected name==version"):
        read_lock(tmp_path / "requirements.lock")


def test_a_library_is_in_the_closures_of_those_that_import_it_by_whatever_name(
    tmp_path: Path,
) -> None:
    write(
        tmp_path,
        {
            "requirements.lock": LOCK,
            "stages/__init__.py": "",
            "stages/paint.py": "import json\nfrom PIL import Image\nimport models.ink\n",
            "stages/count.py": "def f():\n    import numpy.linalg\n",
            "models/__init__.py": "",
            "models/ink.py": "import cv2\n",
        },
    )
    closures = all_closures(tmp_path)
    assert list(closures) == ["count", "paint"]
    libraries = {
        stage: {name: version for name, version in closure.items() if "/" not in name}
        for stage, closure in closures.items()
    }
    assert libraries["count"] == {"numpy": "2.4.6"}
    assert libraries["paint"] == {"opencv-python-headless": "5.0.0.93", "pillow": "13.0.0"}


def test_a_library_that_is_not_locked_is_named(tmp_path: Path) -> None:
    write(
        tmp_path,
        {"requirements.lock": LOCK, "stages/__init__.py": "", "stages/paint.py": "import a_b.c\n"},
    )
    with pytest.raises(InputError, match=r"stages/paint\.py: imports a-b, which"):
        all_closures(tmp_path)


def test_what_is_not_python_is_named(tmp_path: Path) -> None:
    write(tmp_path, {"requirements.lock": LOCK, "stages/paint.py": "def f(:\n"})
    with pytest.raises(InputError, match=r"paint\.py: not Python: .*line 1"):
        all_closures(tmp_path)
