"""The names that albums use: readable, in a language, and no two landmarks with the same one."""

import os
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping

from landmarks.errors import LandmarksError
from landmarks.schema.names import decode_name, link_commons

_PUBLIC_LANDMARKS = 203_094  # ids of Google Landmarks v2; a text as label of own photos gets a larger one
_FORBIDDEN = str.maketrans(dict.fromkeys('/\\:*?"<>|', "_"))  # in names of files, by Windows


class Names:
    """The name, the folder and the link of each landmark."""

    def __init__(
        self,
        names: Mapping[int, str],
        translations: Mapping[int, Mapping[str, str]],
        language: str | None = None,
        are_real: bool = True,
    ) -> None:
        self._raw = names
        self._are_real = are_real
        wanted = {number: translations.get(number, {}).get(language or "") or name for number, name in names.items()}
        self._names = _tell_apart({number: _clean(name, number) for number, name in wanted.items()})
        self._folders = _tell_apart(
            {number: name.translate(_FORBIDDEN).strip(". ") or "_" for number, name in self._names.items()}
        )

    def find(self, landmark_id: int) -> str:
        """Return the name of a landmark."""
        return self._names.get(landmark_id) or _clean("", landmark_id)

    def find_folder(self, landmark_id: int) -> str:
        """Return its name as the name of a folder, on any file system."""
        return self._folders.get(landmark_id) or _clean("", landmark_id)

    def find_link(self, landmark_id: int) -> str | None:
        """Return its page on Wikimedia Commons, or None if it has none."""
        name = decode_name(self._raw.get(landmark_id, ""))
        is_public = self._are_real and landmark_id < _PUBLIC_LANDMARKS and name != f"landmark {landmark_id}"
        return link_commons(name) if is_public else None


def choose_language(wanted: str | None, translations: Iterable[Mapping[str, str]]) -> str | None:
    """Choose the language of names: the one wanted, or that of the user's locale where the model has it.

    Raises:
        LandmarksError: the model has no names in the language that is wanted.
    """
    known = sorted({language for names in translations for language in names})
    locale = next((os.environ[name] for name in ("LC_ALL", "LC_MESSAGES", "LANG") if os.environ.get(name)), "")
    tag = (wanted or locale.partition(".")[0]).replace("_", "-").casefold()
    by_tag = {language.replace("_", "-").casefold(): language for language in known}
    found = by_tag.get(tag) or by_tag.get(tag.partition("-")[0])
    if wanted and found is None:
        raise LandmarksError(
            f"The model has no names in the language {wanted}. It has: {', '.join(known) or 'none'}. They come from "
            "columns such as name_de of acquire.names_csv."
        )
    return found


def _clean(name: str, landmark_id: int) -> str:
    """Return a name on one line, without characters that XML does not have."""
    letters = "".join(letter if letter.isprintable() else " " for letter in decode_name(name))
    return " ".join(letters.split()) or f"Landmark {landmark_id}"


def _tell_apart(names: Mapping[int, str]) -> dict[int, str]:
    """Add their ids to names that are the same for a file system that does not tell upper from lower case."""
    found = dict(names)
    while True:
        keys = {number: unicodedata.normalize("NFC", name).casefold() for number, name in found.items()}
        count = Counter(keys.values())
        twins = [number for number, key in keys.items() if count[key] > 1]
        if not twins:
            return found
        for number in twins:
            found[number] = f"{found[number]} ({number})"
