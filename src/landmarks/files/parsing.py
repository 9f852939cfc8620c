"""Bounded reading of JSON, YAML and CSV, which may come from anywhere."""

import csv
import json
import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from landmarks.errors import ArtifactError

if TYPE_CHECKING:
    import pydantic
    from ruamel.yaml import YAML

_REBUILD = "Delete it and run `dvc repro`."
_MAX_JSON_BYTES = 64 << 20
_MAX_YAML_BYTES = 64 << 10
_MAX_YAML_NODES = 5_000  # with every alias in full
_MAX_DEPTH = 64
_MAX_INTEGER_BITS = 64
_INTEGER = re.compile(r"-?[0-9]{1,18}")
_MAX_CELL = 1 << 20  # the csv module's default is 131072 characters
Record = TypeVar("Record")


def read_json(path: Path, remedy: str = _REBUILD) -> Any:
    """Read a JSON file, within the limits of `parse_json`; `remedy` is what the error says to do.

    Raises:
        ArtifactError: the file is missing, cannot be read, or is not JSON.
    """
    try:
        if path.stat().st_size > _MAX_JSON_BYTES:
            raise ArtifactError(f"{path} is larger than {_MAX_JSON_BYTES >> 20} MiB. {remedy}")
        return parse_json(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ArtifactError(f"{path} is missing. Run the stage that writes it: `dvc repro`.") from None
    except OSError as error:
        raise ArtifactError(f"{path} cannot be read: {error.strerror}.") from error
    except ValueError as error:
        raise ArtifactError(f"{path} is not valid JSON ({error}). {remedy}") from error


def read_record(path: Path, kind: type[Record], remedy: str = _REBUILD) -> Record:
    """Read a JSON file that holds a value of a type: a data class, or such as `dict[str, float]`.

    Types are strict: `true` is no number and `"1"` is none either. Keys that a data class does not know are ignored.

    Raises:
        ArtifactError: as `read_json`, or the value is not of that type.
    """
    import pydantic  # not at the top: worker processes do without

    facts = read_json(path, remedy)
    try:
        # as JSON, because strict validation of Python values takes no list for a tuple
        return pydantic.TypeAdapter(kind).validate_json(json.dumps(facts), strict=True)
    except pydantic.ValidationError as error:
        raise ArtifactError(f"{path} cannot be used: {describe_problems(error)[0]}. {remedy}") from None


def describe_problems(error: "pydantic.ValidationError", whole: str = "the whole file") -> list[str]:
    """Describe what is wrong with values: where, what, and what was received; `whole` names the outermost value."""
    return [
        f"{'.'.join(map(str, problem['loc'])) or whole}: {problem['msg']} (received {problem['input']!r:.80})"
        for problem in error.errors()
    ]


def parse_json(text: str) -> Any:
    """Parse JSON that may come from anywhere.

    Raises:
        ValueError: it is not JSON, is nested too deeply, repeats a key, or holds a number or a text that cannot be
            used: NaN, infinity, an integer of more than 64 bits, half a surrogate pair, or a zero character.
    """
    try:
        value = json.loads(text, object_pairs_hook=_refuse_repeats)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    _check_values(value, must_be_finite=True)
    return value


def parse_yaml(text: str, yaml: "YAML") -> Any:
    """Parse YAML that may come from anywhere with a parser of ruamel.yaml.

    Aliases are counted in full before anything is built, so that a few lines of them cannot become billions of values.

    Raises:
        ValueError: it is not YAML, is too long or nested too deeply, has too many values, a tag, or a key that is
            no text, or holds an integer or a text that cannot be used, as in `parse_json`.
    """
    if len(text) > _MAX_YAML_BYTES:
        raise ValueError(f"it is longer than {_MAX_YAML_BYTES >> 10} KiB")
    try:
        _check_nodes(text, yaml)
        value = yaml.load(text)
    except ValueError:
        raise
    except Exception as error:
        raise ValueError(str(error) or type(error).__name__) from error
    _check_values(value, must_be_finite=False)
    return value


def read_rows(path: Path, columns: Sequence[str]) -> Iterator[dict[str, str]]:
    """Yield the rows of a CSV file as texts by column.

    Args:
        path: the file.
        columns: those that the header must have.

    Raises:
        ArtifactError: the file is missing or is not such a table: a column is absent or repeated, a row has another
            number of cells than the header, or the text is not UTF-8 or holds a zero character.
    """
    limit = csv.field_size_limit(_MAX_CELL)  # global to the csv module, so restored below
    try:
        with path.open(newline="", encoding="utf-8") as stream:
            rows = csv.reader(stream, strict=True)
            header = next(rows, [])
            _check_header(header, columns)
            for cells in rows:
                _check_cells(cells, header, rows.line_num)
                yield dict(zip(header, cells, strict=True))
    except FileNotFoundError:
        raise ArtifactError(f"{path} is missing. Run the stage that writes it: `dvc repro`.") from None
    except OSError as error:
        raise ArtifactError(f"{path} cannot be read: {error.strerror}.") from error
    except (ValueError, csv.Error) as error:
        raise ArtifactError(f"{path} is not a table of {','.join(columns)} ({error}). {_REBUILD}") from error
    finally:
        csv.field_size_limit(limit)


def parse_integer(text: str) -> int:
    """Parse a decimal integer of up to 18 digits; `int` also takes spaces, underscores, and the digits of all scripts.

    Raises:
        ValueError: the text is not such a number.
    """
    if not _INTEGER.fullmatch(text):
        raise ValueError(f"expected a whole number, received {text!r:.60}")
    return int(text)


def _check_header(header: Sequence[str], columns: Sequence[str]) -> None:
    if not set(columns) <= set(header) or len(set(header)) < len(header):
        raise ValueError(f"its first line is {','.join(header)!r:.80}, expected {','.join(columns)}")


def _check_cells(cells: Sequence[str], header: Sequence[str], line: int) -> None:
    if len(cells) != len(header):
        raise ValueError(f"line {line} has {len(cells)} cells, the header {len(header)}")
    if any("\0" in cell for cell in cells):
        raise ValueError(f"line {line} has a zero character")


def _refuse_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"it has the key {next(name for name in names if names.count(name) > 1)!r:.60} twice")
    return found


@dataclass
class _Collection:
    """A list or mapping of a YAML text: its anchor, the number of values before it, and of items in it so far."""

    anchor: str | None
    is_mapping: bool
    before: int
    items: int = 0

    def is_at_key(self) -> bool:
        return self.is_mapping and self.items % 2 == 0


class _NodeCounter:
    """Counts the values of a YAML text, with every alias in full, and refuses what `parse_yaml` does not build."""

    def __init__(self) -> None:
        self._sizes: dict[str, int] = {}  # values behind each anchor
        self._collections: list[_Collection] = []  # that are not closed yet
        self._anchors: set[str] = set()
        self._count = 0

    def add_alias(self, anchor: str) -> None:
        self._enter(is_text=False)
        if anchor not in self._sizes:
            raise ValueError(f"the alias *{anchor} is inside of its own anchor, or has none")
        self._add(self._sizes[anchor])

    def add_scalar(self, anchor: str | None) -> None:
        self._enter(is_text=True)
        self._name(anchor)
        self._add(1)
        if anchor:
            self._sizes[anchor] = 1

    def open_collection(self, anchor: str | None, is_mapping: bool) -> None:
        self._enter(is_text=False)
        self._name(anchor)
        self._collections.append(_Collection(anchor, is_mapping, self._count))
        self._add(1)
        if len(self._collections) > _MAX_DEPTH:
            raise ValueError(f"it is nested more than {_MAX_DEPTH} deep")

    def close_collection(self) -> None:
        closed = self._collections.pop()
        if closed.anchor:
            self._sizes[closed.anchor] = self._count - closed.before

    def _enter(self, is_text: bool) -> None:
        if self._collections:
            if self._collections[-1].is_at_key() and not is_text:
                raise ValueError("a key is not a plain text")  # nested ones take the parser exponential time
            self._collections[-1].items += 1

    def _name(self, anchor: str | None) -> None:
        if anchor in self._anchors:
            raise ValueError(f"the anchor &{anchor} is there twice")
        if anchor:
            self._anchors.add(anchor)

    def _add(self, count: int) -> None:
        self._count += count
        if self._count > _MAX_YAML_NODES:
            raise ValueError(f"it has more than {_MAX_YAML_NODES:,} values, with every alias in full")


def _check_nodes(text: str, yaml: "YAML") -> None:
    """Check the values of a YAML text and their depth, without building them."""
    from ruamel.yaml import events  # not at the top: worker processes do without

    counter = _NodeCounter()
    for event in yaml.parse(text):
        if getattr(event, "tag", None) is not None:
            raise ValueError(f"tags are not used here, received {event.tag!r:.60}")
        if isinstance(event, events.AliasEvent):
            counter.add_alias(event.anchor)
        elif isinstance(event, events.ScalarEvent):
            counter.add_scalar(event.anchor)
        elif isinstance(event, events.CollectionStartEvent):
            counter.open_collection(event.anchor, isinstance(event, events.MappingStartEvent))
        elif isinstance(event, events.CollectionEndEvent):
            counter.close_collection()


def _check_values(value: Any, must_be_finite: bool) -> None:
    """Refuse numbers and texts that are valid in a file but cannot be computed with, stored or printed."""
    waiting = [value]
    while waiting:
        one = waiting.pop()
        if isinstance(one, dict):
            waiting += [*one, *one.values()]
        elif isinstance(one, list | tuple):
            waiting += one
        elif isinstance(one, str):
            one.encode()  # raises a ValueError for half a surrogate pair
            if "\0" in one:
                raise ValueError(f"the text {one[:40]!r} has a zero character")
        elif isinstance(one, int) and one.bit_length() > _MAX_INTEGER_BITS:
            raise ValueError(f"an integer has more than {_MAX_INTEGER_BITS} bits")
        elif must_be_finite and isinstance(one, float) and not math.isfinite(one):
            raise ValueError("a number is not finite")
