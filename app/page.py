"""The web page. `make app` starts it with `python -m streamlit run app/page.py`."""

import hashlib
import logging
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import streamlit as st

from app.cards import STYLE, draw_card, draw_footer
from app.client import Answer, BusyError, RefusedError, Service, ServiceError
from app.groups import Group, group_results
from app.previews import make_preview
from app.tables import tabulate, write_csv

# the suffixes of landmarks.photos.walk, whose package this page does not need
KINDS = ["jpg", "jpeg", "jpe", "jfif", "jif", "mpo", "png", "apng", "gif", "webp", "bmp", "dib", "tif", "tiff"]
KINDS += ["heic", "heif", "hif", "avif"]
ICON = Path(__file__).with_name("icon.svg")
_LOG = logging.getLogger(__name__)
_ALL, _LANDMARKS = "All photos", "Landmarks"
_ASKED_AT_ONCE = 4
_CARDS_ON_A_PAGE = 10
_MODEL_SECONDS = 30  # the footer may be out of date for this long after another model is served


@dataclass(frozen=True)
class Photo:
    """An uploaded photo, identified by the digest of its content."""

    name: str
    content: bytes
    digest: str


def main() -> None:
    """Draw the whole page; Streamlit calls this again after every click."""
    st.set_page_config(page_title="Which landmark is this?", page_icon=str(ICON), layout="centered")
    st.html(STYLE)
    st.title("Which landmark is this?", anchor=False)
    photos = _pick_photos()
    service = _connect()
    facts: Mapping[str, Any] = {}
    if service.is_ready():
        facts = _describe_model(service)
        if photos:
            _show(_answer(service, photos), facts)
    else:
        _warn(ServiceError(f"The service at {service.address} does not answer. `make serve` starts it."))
    st.html(draw_footer(facts))


def _pick_photos() -> list[Photo]:
    way = st.segmented_control(
        "Where the photos come from", ["Photos", "Camera"], default="Photos", label_visibility="collapsed"
    )
    if way == "Camera":
        taken = st.camera_input("Take a photo", label_visibility="collapsed")
        files = [taken] if taken else []
    else:
        files = st.file_uploader(
            "Drop one photo or many", type=KINDS, accept_multiple_files=True, help="JPEG, PNG, HEIC, WebP and the like"
        )
    return [_read_photo(file.name, file.getvalue()) for file in files]


def _read_photo(name: str, content: bytes) -> Photo:
    return Photo(name, content, hashlib.sha256(content).hexdigest())


@st.cache_resource
def _connect() -> Service:
    return Service.from_environment()


# `_service` has an underscore so that Streamlit does not try to hash it
@st.cache_data(ttl=_MODEL_SECONDS, show_spinner=False)
def _describe_model(_service: Service) -> Mapping[str, Any]:
    try:
        return _service.describe_model()
    except ServiceError:
        return {}


def _answer(service: Service, photos: Sequence[Photo]) -> list[tuple[Photo, Answer | str]]:
    """Ask about the photos without a stored answer; photos that the service could not answer now are left out."""
    known: dict[str, Answer | str] = st.session_state.setdefault("answers", {})
    wanted = {photo.digest: photo for photo in photos if photo.digest not in known}
    if wanted:
        known |= _ask(service, list(wanted.values()))
    return [(photo, known[photo.digest]) for photo in photos if photo.digest in known]


def _ask(service: Service, photos: Sequence[Photo]) -> dict[str, Answer | str]:
    found: dict[str, Answer | str] = {}
    bar = st.progress(0.0, "Looking …")
    with ThreadPoolExecutor(_ASKED_AT_ONCE) as pool:
        waiting = {pool.submit(service.ask, photo.content): photo for photo in photos}
        try:
            for done in as_completed(waiting):
                found[waiting[done].digest] = _read_result(done.result)
                bar.progress(len(found) / len(photos), f"Looking: {len(found)} of {len(photos)}")
        except ServiceError as error:
            pool.shutdown(cancel_futures=True)
            _warn(error, f"{len(photos) - len(found)} of {len(photos)} photos wait for an answer.")
    bar.empty()
    return found


def _read_result(fetch: Any) -> Answer | str:
    try:
        answer: Answer = fetch()
    except RefusedError as error:
        return str(error)
    return answer


def _warn(error: ServiceError, waiting: str = "") -> None:
    """Tell a visitor that the service is away, and who runs the page why."""
    _LOG.warning("%s", error)
    state = "busy" if isinstance(error, BusyError) else "away at the moment"
    st.warning(f"The service is {state}. Try again in a little while. {waiting}", icon=":material/cloud_off:")
    st.button("Try again", icon=":material/refresh:")


def _show(results: Sequence[tuple[Photo, Answer | str]], facts: Mapping[str, Any]) -> None:
    if len(results) > 1:
        groups = group_results(results, *_pick_order())
        chosen = _show_table([item for group in groups for item in group.results], facts)
        groups = [Group("", [chosen])] if chosen else groups
    else:
        groups = group_results(results, only_landmarks=False, by_landmark=False)
    _show_cards(groups)


def _pick_order() -> tuple[bool, bool]:
    """Ask whether to show landmarks alone, and whether by landmark."""
    shown = st.segmented_control("What is shown", [_ALL, _LANDMARKS], default=_ALL, label_visibility="collapsed")
    return shown == _LANDMARKS, st.toggle("Group by landmark")


def _show_cards(groups: Sequence[Group[Photo]]) -> None:
    places = [(group, place) for group in groups for place in range(len(group.results))]
    pages = -(-len(places) // _CARDS_ON_A_PAGE)
    page = st.pagination(pages, key="page") if pages > 1 else 1
    first = (page - 1) * _CARDS_ON_A_PAGE
    for number, (group, place) in enumerate(places[first : first + _CARDS_ON_A_PAGE]):
        if group.title and (place == 0 or number == 0):
            many = len(group.results)
            st.subheader(f"{_escape_markdown(group.title)} · {many} photo{'s' if many > 1 else ''}", anchor=False)
        photo, result = group.results[place]
        if isinstance(result, str):
            st.error(f"**{_escape_markdown(photo.name)}** {_escape_markdown(result)}", icon=":material/broken_image:")
        else:
            st.html(draw_card(photo.name, _preview(photo), result))


def _preview(photo: Photo) -> str | None:
    previews: dict[str, str | None] = st.session_state.setdefault("previews", {})
    if photo.digest not in previews:
        previews[photo.digest] = make_preview(photo.content)
    return previews[photo.digest]


def _show_table(
    results: Sequence[tuple[Photo, Answer | str]], facts: Mapping[str, Any]
) -> tuple[Photo, Answer | str] | None:
    """Draw a line per photo, and return the one that was clicked."""
    rows = tabulate([(photo.name, result) for photo, result in results], facts)
    has_errors = any(row["error"] for row in rows)
    event = st.dataframe(
        [
            {
                "Confidence": _round_confidence(result),
                "Landmark": row["answer"] or "",
                "Photo": row["file"],
            }
            | ({"Problem": row["error"] or ""} if has_errors else {})
            for row, (_, result) in zip(rows, results, strict=True)
        ],
        hide_index=True,
        # the first columns are those that a phone shows
        column_config={
            "Confidence": st.column_config.ProgressColumn(min_value=0, max_value=1, format="percent", width=100)
        },
        on_select="rerun",
        selection_mode="single-cell",
        key="".join(
            ["table", *(photo.digest[:8] for photo, _ in results)]
        ),  # a line chosen belongs to this order alone
    )
    st.caption("Click a line to see its photo alone.")
    table = write_csv(rows)
    st.download_button(
        "Download the table", table, "landmarks.csv", "text/csv", icon=":material/download:", on_click="ignore"
    )
    cells = event.selection.cells
    return results[cells[0][0]] if cells and cells[0][0] < len(results) else None


def _round_confidence(result: Answer | str) -> float | None:
    """Round the confidence of a name to whole percent, as on its card; None where no landmark is named."""
    if isinstance(result, str) or not result.is_landmark or result.confidence is None:
        return None
    return round(result.confidence, 2)


def _escape_markdown(text: str) -> str:
    # file names come from outside, and would be drawn as Markdown
    return "".join(f"\\{letter}" if letter in "\\`*_{}[]()<>#+-.!|~$:" else letter for letter in text)


if __name__ == "__main__":
    main()
