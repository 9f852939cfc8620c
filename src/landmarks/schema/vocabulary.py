"""The vocabulary: the landmarks that a model can recognize, as a table beside the model."""

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from landmarks.errors import ArtifactError
from landmarks.files.parsing import parse_integer, read_rows
from landmarks.files.writing import replace_file

VOCABULARY_FILE = "vocabulary.csv"
TRANSLATION = "name_"  # and a language: a column of names in it
_COLUMNS = ("label", "landmark_id", "name", "train", "val", "test")


@dataclass(frozen=True)
class Landmark:
    """One row of the vocabulary; `train`, `val` and `test` are numbers of photos.

    `translations` has the names in other languages, by language.
    """

    label: int
    landmark_id: int
    name: str
    train: int
    val: int
    test: int
    translations: Mapping[str, str] = field(default_factory=dict, hash=False)


def write_vocabulary(path: Path, landmarks: Sequence[Landmark]) -> Path:
    """Write the table, in order of label."""
    languages = sorted({language for landmark in landmarks for language in landmark.translations})
    with replace_file(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow([*_COLUMNS, *(TRANSLATION + language for language in languages)])
        for landmark in landmarks:
            translated = [landmark.translations.get(language, "") for language in languages]
            writer.writerow([*(getattr(landmark, column) for column in _COLUMNS), *translated])
    return path


def read_vocabulary(path: Path) -> tuple[Landmark, ...]:
    """Read the table; row i has label i.

    Raises:
        ArtifactError: the file is missing, is not such a table, or its labels are not 0, 1, 2, …
    """
    try:
        landmarks = tuple(
            Landmark(
                label=parse_integer(row["label"]),
                landmark_id=parse_integer(row["landmark_id"]),
                name=row["name"],
                train=parse_integer(row["train"]),
                val=parse_integer(row["val"]),
                test=parse_integer(row["test"]),
                translations={
                    column.removeprefix(TRANSLATION): name
                    for column, name in row.items()
                    if column.startswith(TRANSLATION) and name
                },
            )
            for row in read_rows(path, _COLUMNS)
        )
    except ValueError as error:
        raise ArtifactError(f"{path} is not a vocabulary ({error}). Delete it and run `dvc repro`.") from error
    if [landmark.label for landmark in landmarks] != list(range(len(landmarks))):
        raise ArtifactError(f"{path} has labels that are not 0, 1, 2, … Delete it and run `dvc repro`.")
    return landmarks
