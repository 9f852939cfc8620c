"""Where the tracking store is: the address for MLflow, and the form of it that is printed, which shows no secret."""

import os
import re
import tempfile
from collections.abc import MutableMapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import SplitResult, unquote, urlsplit

from landmarks.errors import LandmarksError

TRACKING_VARIABLE = "MLFLOW_TRACKING_URI"
REGISTRY_VARIABLE = "MLFLOW_REGISTRY_URI"
USERNAME_VARIABLE, PASSWORD_VARIABLE = "MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD"
DATABASE_FILE = "mlflow.db"
ARTIFACTS_FOLDER = "mlartifacts"
_LOGIN_VARIABLES = (USERNAME_VARIABLE, PASSWORD_VARIABLE, "MLFLOW_TRACKING_TOKEN")
_DATABASES = ("sqlite", "postgresql", "mysql", "mssql")
_NOT_UTF_8 = re.compile(r"[\udc80-\udcff]")  # how Python writes such bytes of a path
_EXPERIMENTS = (".dvc", "tmp", "exps")


@dataclass(frozen=True)
class StoreAddress:
    """The address of a tracking store or a registry. As text it is safe to print: its password is in `uri` alone.

    Attributes:
        uri: as MLflow needs it; a database has its password in it, a server has none.
        database: the file of an SQLite database; None for other stores.
    """

    uri: str = field(repr=False)
    database: Path | None = None

    def __str__(self) -> str:
        return f"sqlite:///{self.database}" if self.database else hide_secrets(self.uri)

    @property
    def is_server(self) -> bool:
        """Whether it is a server, which chooses itself where artifacts are, or a database."""
        return not self.uri.startswith(_DATABASES)

    @property
    def artifacts(self) -> str | None:
        """The URI below which artifacts of new experiments are stored; None if the store chooses.

        MLflow's own default is the path of the working directory, which it would decode as if it were a URI.
        """
        if self.is_server:
            return None
        return ((self.database.parent if self.database else find_workspace()) / ARTIFACTS_FOLDER).as_uri()


def find_workspace() -> Path:
    """Return the project's folder: the working directory, or in an experiment of DVC the folder it was started in.

    `dvc exp run --temp` and `--queue` run in a copy below `.dvc/tmp/exps`, which DVC removes at the end.
    """
    here = Path.cwd()
    copies = (folder for folder in here.parents if folder.parts[-3:] == _EXPERIMENTS)
    return next((folder.parents[2] for folder in copies), here)


def is_copy() -> bool:
    """Whether the working directory is a copy that DVC removes at the end of an experiment."""
    return find_workspace() != Path.cwd()


def check_folders() -> None:
    """Check that MLflow can work in the project's folder and in the folder for temporary files.

    Raises:
        LandmarksError: it cannot, whatever the store.
    """
    here, scratch = str(find_workspace()), tempfile.gettempdir()
    if _NOT_UTF_8.search(here):
        raise LandmarksError(f"MLflow cannot work in {here!a}, which is not UTF-8. Rename the folder.")
    if _NOT_UTF_8.search(scratch) or unquote(scratch) != scratch:
        raise LandmarksError(
            f"MLflow cannot use the folder for temporary files, {scratch!a}: it must be UTF-8, without % and two "
            "hexadecimal digits after it, which MLflow would decode. Set TMPDIR to another folder."
        )


def find_store() -> StoreAddress:
    """Return the store that MLFLOW_TRACKING_URI names, by default `mlflow.db` in the project's folder.

    Raises:
        LandmarksError: it is not the address of a store.
    """
    return _read_address(os.environ.get(TRACKING_VARIABLE) or f"sqlite:///{DATABASE_FILE}")


def find_registry() -> StoreAddress:
    """Return the registry that MLFLOW_REGISTRY_URI names, by default that of the store.

    Raises:
        LandmarksError: it is not the address of a registry.
    """
    named = os.environ.get(REGISTRY_VARIABLE)
    return _read_address(named) if named else find_store()


def move_login(environ: MutableMapping[str, str]) -> None:
    """Move the user and the password in the URI of a server to the variables that MLFlow reads them from as well.

    MLflow's errors, warnings and links show the URI of its server as it was given. A login that is set in these
    variables, as a user or a token, counts more than that in the URI, as in MLflow itself.

    Raises:
        LandmarksError: the registry is another server, which would receive this password.
    """
    named = {name: environ[name] for name in (TRACKING_VARIABLE, REGISTRY_VARIABLE) if environ.get(name)}
    servers = {name: urlsplit(uri) for name, uri in named.items() if _is_http(uri)}
    logins = {name: server for name, server in servers.items() if server.username or server.password}
    if not logins:
        return
    if len({_name_host(server) for server in servers.values()}) > 1:
        raise LandmarksError(
            f"{TRACKING_VARIABLE} and {REGISTRY_VARIABLE} name different servers, and MLflow would send the login of "
            f"one to both. Name one server, or set a login for both in {USERNAME_VARIABLE} and {PASSWORD_VARIABLE}."
        )
    for name, server in logins.items():
        environ[name] = server._replace(netloc=_name_host(server)).geturl()
    if not any(environ.get(name) for name in _LOGIN_VARIABLES):
        server = next(iter(logins.values()))
        environ[USERNAME_VARIABLE] = unquote(server.username or "")
        environ[PASSWORD_VARIABLE] = unquote(server.password or "")


def hide_secrets(uri: str) -> str:
    """Return a URI without user, password and query, each of which may be a secret.

    >>> hide_secrets("postgresql://mlflow:s3cret@db.example.org:5432/mlflow?sslpassword=s3cret")
    'postgresql://db.example.org:5432/mlflow'
    >>> hide_secrets("postgresql://mlflow:s3/cr?t@db.example.org/mlflow")
    'postgresql://***'
    """
    scheme, separator, rest = uri.partition("://")
    authority, slash, path = rest.partition("?")[0].partition("#")[0].partition("/")
    # an @ elsewhere ends a password with characters that should have been escaped
    if "@" in rest.removeprefix(authority) or (not separator and "@" in uri):
        return f"{scheme}://***" if separator else "***"
    return f"{scheme}{separator}{authority.rpartition('@')[2]}{slash}{path}"


def hide_secrets_in(text: str, uri: str) -> str:
    """Return a message of a library without the secrets of the URI that it is about."""
    from sqlalchemy.engine import make_url
    from sqlalchemy.exc import ArgumentError

    hidden = text.replace(uri, hide_secrets(uri))
    try:
        url = make_url(uri)
    except (ArgumentError, ValueError):
        return hidden
    for secret in (url.password, *url.query.values()):
        hidden = hidden.replace(str(secret), "***") if secret else hidden
    return hidden


def explain_refusal(error: Exception) -> str | None:
    """Say in a sentence what MLflow raised, without secrets; None if the exception is not one of MLflow."""
    if type(error).__module__.partition(".")[0] != "mlflow":
        return None
    address = find_store()
    reason = next(iter(str(error).splitlines()), type(error).__name__).rstrip(".")
    return (
        f"The tracking store {address} cannot do this: {hide_secrets_in(reason, address.uri)}. Check "
        f"{TRACKING_VARIABLE} and, of a server, its log."
    )


def _read_address(uri: str) -> StoreAddress:
    if not uri.startswith("sqlite"):
        return StoreAddress(uri)
    from sqlalchemy.engine import URL, make_url
    from sqlalchemy.exc import ArgumentError

    try:
        url = make_url(uri)
    except (ArgumentError, ValueError) as error:
        raise LandmarksError(f"{uri} is not the address of an SQLite database. Write sqlite:///PATH.") from error
    if url.database in (None, "", ":memory:") or url.query:
        return StoreAddress(uri)
    path = find_workspace() / str(url.database)
    # with the driver's name MLflow leaves the folder alone; without, it makes one that is named by the escaped path
    return StoreAddress(
        URL.create("sqlite+pysqlite", database=str(path)).render_as_string(hide_password=False), database=path
    )


def _is_http(uri: str) -> bool:
    return uri.startswith(("http://", "https://"))


def _name_host(server: SplitResult) -> str:
    return server.netloc.rpartition("@")[2]
