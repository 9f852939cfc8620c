"""The names that albums use: readable, in a language, and no two landmarks with the same one."""

from collections import Counter
from collections.abc import Mapping

from landmarks.schema.names import decode_name, link_commons


class Names:
    """The name and the link of each landmark."""

    def __init__(
        self,
        names: Mapping[int, str],
        translations: Mapping[int, Mapping[str, str]],
        language: str | None = None,
        are_real: bool = True,
    ) -> None:
        self._raw = names
        self._are_real = are_real
        wanted = {
            landmark_id: translations.get(landmark_id, {}).get(language or "") or name
            for landmark_id, name in names.items()
        }
        readable = {landmark_id: _clean(name, landmark_id) for landmark_id, name in wanted.items()}
        # folders of albums and many programs do not tell upper from lower case
        count = Counter(name.casefold() for name in readable.values())
        self._names = {
            landmark_id: f"{name} ({landmark_id})" if count[name.casefold()] > 1 else name
            for landmark_id, name in readable.items()
        }

    def find(self, landmark_id: int) -> str:
        """Return the name of a landmark."""
        return self._names.get(landmark_id) or _clean("", landmark_id)

    def find_link(self, landmark_id: int) -> str | None:
        """Return its page on Wikimedia Commons, or None if it has none."""
        return link_commons(decode_name(self._raw.get(landmark_id, ""))) if self._are_real else None


def _clean(name: str, landmark_id: int) -> str:
    """Return a name on one line, without characters that XML does not have."""
    letters = "".join(letter if letter.isprintable() else " " for letter in decode_name(name))
    return " ".join(letters.split()) or f"Landmark {landmark_id}"
