import os
import subprocess
import sys
from pathlib import Path

import pytest

from landmarks.terminal import hold_stderr, show_progress


def run(code: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)


def test_without_a_terminal_progress_is_a_line_now_and_then(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert list(show_progress(range(5), description="counting", total=5)) == [0, 1, 2, 3, 4]
    assert capsys.readouterr().err == ""
    monkeypatch.setattr("landmarks.terminal._LINE_SECONDS", 0.0)
    list(show_progress(range(5), description="counting", total=5))
    text = capsys.readouterr().err
    assert "\r" not in text
    assert len(text.splitlines()) >= 5
    assert text.splitlines()[-1].startswith("counting: 100%")


def test_what_is_written_below_python_is_held_back() -> None:
    code = "import os; from landmarks.terminal import hold_stderr\nwith hold_stderr(): os.write(2, b'noise')"
    assert run(code).stderr == ""


def test_what_was_held_back_is_shown_with_an_error() -> None:
    code = (
        "import os; from landmarks.terminal import hold_stderr\n"
        "with hold_stderr(): os.write(2, b'why it failed\\n'); raise ValueError('it failed')"
    )
    done = run(code)
    assert done.stderr.startswith("why it failed\n")
    assert "ValueError: it failed" in done.stderr


def test_a_closed_stderr_is_no_error(tmp_path: Path) -> None:
    code = (
        "import os; os.close(2); from landmarks.terminal import hold_stderr\n"
        f"with hold_stderr(): open({str(tmp_path / 'done')!r}, 'w').close()"
    )
    assert run(code).returncode == 0
    assert (tmp_path / "done").exists()


def test_stderr_is_back_afterwards() -> None:
    before = os.fstat(2)
    with hold_stderr():
        assert os.fstat(2).st_ino != before.st_ino
    assert os.fstat(2).st_ino == before.st_ino


@pytest.mark.slow
def test_tensorflow_and_litert_tell_nothing_of_the_machine() -> None:
    code = "from landmarks.schema.library_settings import pin_environment; pin_environment(); import landmarks.network"
    assert run(code).stderr == ""
