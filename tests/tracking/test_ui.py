"""`landmarks ui` where a team's server has pages already; the campaign `paths` looks at those it serves itself."""

import pytest
from click.testing import CliRunner

from landmarks.cli import main


def test_a_teams_server_is_named_without_its_password(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "https://bob:s3cret@mlflow.example.org/team")
    result = CliRunner().invoke(main, ["ui"])
    assert result.exit_code == 0
    assert result.output == "The tracking store is a server with pages of its own: https://mlflow.example.org/team\n"
