import hashlib
import json
from pathlib import Path

import pytest

from stages.code import Params, code

FILES = {
    "requirements.lock": "numpy==2.4.6\nscipy==0.0.1\n",
    "stages/__init__.py": "",
    "stages/paint.py": "import models.ink\n",
    "stages/count.py": "import scipy  # much\n",
    "models/__init__.py": "",
    "models/ink.py": "import numpy\n",
}


@pytest.fixture
def out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name, text in FILES.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    monkeypatch.chdir(tmp_path)
    code(Params(), Path("requirements.lock"), Path("data/code"))
    return tmp_path / "data/code"


def test_each_stage_has_its_modules_and_its_libraries(out: Path) -> None:
    closures = json.loads((out / "closures.json").read_text())
    assert list(closures["paint"]) == [
        *("models/__init__.py", "models/ink.py"),
        *("stages/__init__.py", "stages/paint.py"),
        "numpy",
    ]
    assert closures["count"]["scipy"] == "0.0.1"
    assert "numpy" not in closures["count"]


def test_the_files_are_noted_as_they_are(out: Path) -> None:
    files = json.loads((out / "files.json").read_text())
    expected = hashlib.md5(FILES["stages/count.py"].encode()).hexdigest()
    assert files["stages/count.py"] == expected
    assert files.keys() == {name for name in FILES if name.endswith(".py")}


def test_an_installed_library_of_another_version_is_said(
    out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code(Params(), Path("requirements.lock"), out)
    said = capsys.readouterr().err
    assert "is installed, not 0.0.1" in said
    assert "numpy" not in said
