"""Multipart forms, parsed in memory: the body is already within its limit, and nothing is written to disk."""

from dataclasses import dataclass

from python_multipart import FormParser
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import Field, File, parse_options_header

from landmarks.serving.problems import RequestError

MULTIPART = "multipart/form-data"
_MOST_PARTS = 1000  # parts of a few bytes take thousands of times as long as bytes of one part


@dataclass(frozen=True)
class Part:
    """One part of a form; it is a file when it came with a filename, even an empty one."""

    name: str
    is_file: bool
    content: bytes


def parse_form(content_type: str, body: bytes) -> list[Part]:
    """The parts of a multipart body, in order.

    Raises:
        RequestError: it is damaged or cut off, or has too many parts.
    """
    _, options = parse_options_header(content_type)
    parts, ends = _parse(options.get(b"boundary", b""), body)
    if not ends:
        raise RequestError(f"The body is not valid {MULTIPART}: it is cut off.")
    return parts


def _parse(boundary: bytes, body: bytes) -> tuple[list[Part], bool]:
    parts: list[Part] = []
    ends: list[bool] = []

    def add(part: Part) -> None:
        if len(parts) == _MOST_PARTS:
            raise RequestError(f"The body has more than {_MOST_PARTS} parts.")
        parts.append(part)

    def add_field(field: Field) -> None:
        add(Part(_decode(field.field_name), False, field.value or b""))

    def add_file(file: File) -> None:
        file.file_object.seek(0)
        add(Part(_decode(file.field_name), True, file.file_object.read()))

    try:
        parser = FormParser(
            MULTIPART,
            add_field,
            add_file,
            on_end=lambda: ends.append(True),
            boundary=boundary,
            config={"MAX_MEMORY_FILE_SIZE": len(body) + 1},
        )
        parser.write(body)
        parser.finalize()
    except FormParserError:
        raise RequestError(f"The body is not valid {MULTIPART}: it is damaged or has no boundary.") from None
    return parts, bool(ends)


def _decode(name: bytes | None) -> str:
    return (name or b"").decode("utf-8", "replace")
