"""Addresses of stores: where they lead from oddly named folders and DVC's copies, and what is printed of them."""

import os
from pathlib import Path

import pytest
from sqlalchemy.engine import make_url

from landmarks.errors import LandmarksError
from landmarks.tracking.address import (
    StoreAddress,
    check_folders,
    find_registry,
    find_store,
    find_workspace,
    hide_secrets,
    hide_secrets_in,
    move_login,
)

SERVER = "http://bob:s3cret@mlflow.example.org:5000"
DATABASE = "postgresql+psycopg://mlflow:s3cret@db.example.org/mlflow"
ODD_NAMES = [
    "my project",
    "a%20b",
    "feature%2Fone",
    "100%",
    "%25",
    "c#",
    "what?x=1",
    "it's",
    'a "b"',
    "größe",
    "🗿",
    "x" * 200,
    "a+b;c&d",
    "what?..",
    "two\nlines",
]


@pytest.fixture(autouse=True)
def no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("TRACKING_URI", "REGISTRY_URI", "TRACKING_USERNAME", "TRACKING_PASSWORD", "TRACKING_TOKEN"):
        # set first, so that what the code sets is undone too
        monkeypatch.setenv(f"MLFLOW_{name}", "")
        monkeypatch.delenv(f"MLFLOW_{name}")


@pytest.mark.parametrize("name", ODD_NAMES)
def test_the_default_database_is_in_the_project_whatever_its_name(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / name).mkdir()
    monkeypatch.chdir(tmp_path / name)
    store = find_store()
    assert store.database == tmp_path / name / "mlflow.db"
    assert make_url(store.uri).database == str(tmp_path / name / "mlflow.db")
    assert str(store) == f"sqlite:///{tmp_path / name / 'mlflow.db'}"
    assert find_registry() == store


def test_a_folder_that_mlflow_cannot_use_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / os.fsdecode(b"gr\xf6\xdfe")  # as an old archive unpacks it
    folder.mkdir()
    monkeypatch.chdir(folder)
    with pytest.raises(LandmarksError, match=r"MLflow cannot work in .* Rename the folder\.") as caught:
        check_folders()
    assert str(caught.value).isprintable()


@pytest.mark.parametrize("name", ODD_NAMES)
def test_odd_names_are_not_refused(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / name).mkdir()
    monkeypatch.chdir(tmp_path / name)
    check_folders()


def test_a_temporary_folder_that_mlflow_would_not_find_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "100%"))
    check_folders()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "a%20b"))
    with pytest.raises(LandmarksError, match=r"a%20b.* Set TMPDIR to another folder\."):
        check_folders()


def test_a_relative_database_is_in_the_project_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite:///stores/a%20b.db")
    assert find_store().database == tmp_path / "stores" / "a b.db"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path / 'x.db'}")
    assert find_store().database == tmp_path / "x.db"


@pytest.mark.parametrize("copy", ["exps/standalone/tmpab12", "exps/tmpab12"])
def test_a_copy_that_dvc_removes_uses_the_store_of_its_project(
    copy: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / ".dvc/tmp" / copy).mkdir(parents=True)
    monkeypatch.chdir(tmp_path / ".dvc/tmp" / copy)
    assert find_workspace() == tmp_path
    assert find_store().database == tmp_path / "mlflow.db"
    assert find_store().artifacts == (tmp_path / "mlartifacts").as_uri()


def test_other_stores_are_left_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    for uri in ("sqlite:///:memory:", "sqlite:///file:x?mode=ro&uri=true", DATABASE, "databricks"):
        monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
        assert find_store() == StoreAddress(uri)


def test_a_server_chooses_where_artifacts_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert StoreAddress("https://mlflow.example.org").artifacts is None
    assert StoreAddress("databricks").artifacts is None
    assert StoreAddress(DATABASE).artifacts == (tmp_path / "mlartifacts").as_uri()


@pytest.mark.parametrize(
    ("uri", "shown"),
    [
        (SERVER, "http://mlflow.example.org:5000"),
        (f"{SERVER}/team/", "http://mlflow.example.org:5000/team/"),
        ("https://s3cret@mlflow.example.org", "https://mlflow.example.org"),
        ("https://mlflow.example.org/a?token=s3cret#s3cret", "https://mlflow.example.org/a"),
        (DATABASE, "postgresql+psycopg://db.example.org/mlflow"),
        ("postgresql://db/mlflow?user=mlflow&password=s3cret", "postgresql://db/mlflow"),
        ("postgresql://mlflow:s3cret@x@db/mlflow", "postgresql://db/mlflow"),
        ("postgresql://mlflow:a/s3cret@db/mlflow", "postgresql://***"),
        ("postgresql://mlflow:a?s3cret@db/mlflow", "postgresql://***"),
        ("postgresql://mlflow:a#s3cret@db/mlflow", "postgresql://***"),
        ("mlflow:s3cret@db:5000", "***"),
        ("http://[::1]:5000", "http://[::1]:5000"),
        ("databricks", "databricks"),
        ("file:///srv/runs", "file:///srv/runs"),
    ],
)
def test_a_printed_address_shows_no_secret(uri: str, shown: str) -> None:
    assert hide_secrets(uri) == shown
    address = StoreAddress(uri)
    for text in (str(address), f"{address}", repr(address), f"{[address]}"):
        assert "s3cret" not in text


def test_the_message_of_a_library_shows_no_secret() -> None:
    uri = "postgresql+psycopg://mlflow:s3%20cret@db/mlflow?sslpassword=other"
    message = f"no driver for {uri}, password 's3 cret', option other"
    assert hide_secrets_in(message, uri) == "no driver for postgresql+psycopg://db/mlflow, password '***', option ***"
    assert hide_secrets_in("bad: a:s3cret@", "a:s3cret@") == "bad: ***"


def test_the_login_of_a_server_moves_out_of_its_address() -> None:
    environ = {"MLFLOW_TRACKING_URI": "https://bob:s3%40cret@host:1/x", "MLFLOW_REGISTRY_URI": "https://host:1"}
    move_login(environ)
    assert environ == {
        "MLFLOW_TRACKING_URI": "https://host:1/x",
        "MLFLOW_REGISTRY_URI": "https://host:1",
        "MLFLOW_TRACKING_USERNAME": "bob",
        "MLFLOW_TRACKING_PASSWORD": "s3@cret",
    }


def test_a_login_of_its_own_counts_more() -> None:
    environ = {"MLFLOW_TRACKING_URI": SERVER, "MLFLOW_TRACKING_TOKEN": "t0ken"}
    move_login(environ)
    assert environ == {"MLFLOW_TRACKING_URI": "http://mlflow.example.org:5000", "MLFLOW_TRACKING_TOKEN": "t0ken"}


def test_a_login_is_not_sent_to_another_server() -> None:
    environ = {"MLFLOW_TRACKING_URI": SERVER, "MLFLOW_REGISTRY_URI": "http://other.example.org"}
    with pytest.raises(LandmarksError, match="name different servers") as caught:
        move_login(environ)
    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize("uri", [DATABASE, "http://mlflow.example.org", "sqlite:///x.db", "http://a:b#c@host", ""])
def test_an_address_without_a_login_stays(uri: str) -> None:
    environ = {"MLFLOW_TRACKING_URI": uri}
    move_login(environ)
    assert environ == {"MLFLOW_TRACKING_URI": uri}
    assert "MLFLOW_TRACKING_PASSWORD" not in os.environ
