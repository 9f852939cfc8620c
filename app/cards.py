"""One photo and its answer as HTML. All external text is escaped here; images are data URLs."""

from collections.abc import Mapping
from html import escape
from typing import Any

from app.client import Answer, Neighbour, Prediction
from app.names import link_commons, read_name

DEMO_AUTHOR = "landmarks demo"  # in the attribution of the demo's photos
STYLE = """<style>
.lm { --accent: #2a9d8f; --quiet: color-mix(in srgb, currentColor 70%, transparent);
  --line: color-mix(in srgb, currentColor 13%, transparent); --amber: #c9892b; line-height: 1.45; }
.lm * { box-sizing: border-box; }
.lm a { color: inherit; text-decoration: underline; text-decoration-thickness: 1px; text-underline-offset: .2em;
  text-decoration-color: color-mix(in srgb, currentColor 45%, transparent); }
.lm a:hover { text-decoration-color: currentColor; }
.lm-card { border: 1px solid var(--line); border-radius: .9rem; padding: 1.1rem; container-type: inline-size; }
.lm-top { display: grid; grid-template-columns: minmax(0, 2fr) minmax(0, 3fr); gap: 1.4rem; align-items: start; }
@container (max-width: 30rem) { .lm-top { grid-template-columns: minmax(0, 1fr); gap: 1rem; } }
.lm-photo { max-width: 100%; max-height: 22rem; border-radius: .6rem; display: block; }
.lm-file { font-size: .8rem; color: var(--quiet); margin: .45rem 0 0; overflow-wrap: anywhere; }
.lm h3 { font-size: 1.35rem; line-height: 1.25; font-weight: 600; margin: 0; padding: 0; overflow-wrap: anywhere; }
.lm-more { font-size: .88rem; color: var(--quiet); margin: .3rem 0 1rem; }
.lm-none h3::before { content: ""; display: inline-block; width: .6rem; height: .6rem; border-radius: 50%;
  background: var(--amber); margin-right: .55rem; vertical-align: .1em; }
.lm-label { font-size: .8rem; color: var(--quiet); margin: 0 0 .45rem; }
.lm-bar { margin: 0 0 .6rem; font-size: .92rem; }
.lm-bar > div:first-child { display: flex; gap: .8rem; justify-content: space-between; }
.lm-bar > div:first-child > :first-child { overflow-wrap: anywhere; }
.lm-number { font-variant-numeric: tabular-nums; white-space: nowrap; color: var(--quiet); }
.lm-track { height: .42rem; border-radius: 1rem; background: var(--line); margin-top: .22rem; position: relative; }
.lm-fill { height: 100%; border-radius: 1rem; background: color-mix(in srgb, var(--accent) 45%, transparent); }
.lm-bar.lm-best .lm-fill { background: var(--accent); }
.lm-bar.lm-best > div:first-child { font-weight: 600; }
.lm-none .lm-fill { background: color-mix(in srgb, currentColor 35%, transparent); }
.lm-guesses { margin: 0 0 .6rem; padding-left: 1.3rem; font-size: .92rem; }
.lm-guesses li { overflow-wrap: anywhere; margin: .15rem 0; padding: 0; font-size: .92rem; }
.lm-evidence { margin-bottom: 1rem; }
.lm-none .lm-evidence .lm-fill { background: var(--amber); }
.stMainBlockContainer h1 { font-size: clamp(1.7rem, 5vw, 2.3rem); }
.lm-need { position: absolute; top: -.22rem; bottom: -.22rem; width: 2px; background: currentColor; }
.lm-similar { margin-top: 1.2rem; padding-top: 1rem; border-top: 1px solid var(--line); }
.lm-row { display: grid; grid-template-columns: repeat(6, minmax(0, 1fr)); gap: .8rem; }
@container (max-width: 30rem) { .lm-row { grid-template-columns: repeat(3, minmax(0, 1fr)); } }
.lm-tile { margin: 0; font-size: .76rem; line-height: 1.3; overflow-wrap: anywhere; }
.lm-tile img, .lm-blank { width: 100%; aspect-ratio: 1; object-fit: cover; border-radius: .5rem; display: block;
  background: color-mix(in srgb, currentColor 7%, transparent); margin-bottom: .35rem; }
.lm-tile small { color: var(--quiet); font-size: .7rem; display: block; }
.lm-foot { font-size: .8rem; color: var(--quiet); border-top: 1px solid var(--line); padding-top: .9rem; }
</style>"""


def draw_card(file_name: str, preview: str | None, answer: Answer) -> str:
    """Draw a photo with its predictions, the confidence of the first, and the most similar photos."""
    shown = _draw_known(answer) if answer.is_landmark else _draw_none(answer)
    return (
        f'<article class="lm lm-card"><div class="lm-top"><div>{_draw_photo(file_name, preview)}</div>'
        f"{shown}</div>{_draw_neighbours(answer.neighbours)}</article>"
    )


def draw_footer(facts: Mapping[str, Any]) -> str:
    """Draw the name, version and date of the model; facts that the service does not send are left out."""
    # services of earlier versions use other keys
    version = facts.get("version", facts.get("model_version"))
    name = facts.get("name", facts.get("model_name"))
    alias = f" ({facts['alias']})" if facts.get("alias") else ""
    created = next((str(facts[key]) for key in ("registered", "created") if facts.get(key)), "")
    parts = [
        f"Model {name}" if name else "",
        f"version {version}{alias}" if version else "",
        f"of {created[:10]}" if created else "",
    ]
    known = ", ".join(part for part in parts if part)
    text = f"{known}. " if known else ""
    return f'<footer class="lm lm-foot">{escape(text)}A guess can be wrong.</footer>'


def _draw_photo(file_name: str, preview: str | None) -> str:
    picture = f'<img class="lm-photo" src="{escape(preview)}" alt="{escape(file_name)}">' if preview else ""
    return f'{picture}<p class="lm-file">{escape(file_name)}</p>'


def _draw_known(answer: Answer) -> str:
    best = answer.predictions[0]
    # landmarks that are drawn are on no photo of anyone
    is_invented = any(neighbour.author == DEMO_AUTHOR for neighbour in answer.neighbours)
    link = None if is_invented else link_commons(best.name)
    more = f'<a href="{escape(link)}" target="_blank" rel="noopener">Photos on Wikimedia Commons</a>' if link else ""
    return (
        f"<div><h3>{escape(read_name(best.name, best.landmark_id))}</h3>"
        f'<p class="lm-more">{more}</p>{_draw_confidence(answer)}{_draw_others(answer.predictions[1:])}</div>'
    )


def _draw_none(answer: Answer) -> str:
    guesses = _draw_list("The closest guesses, none of them good enough", answer.predictions)
    return (
        '<div class="lm-none"><h3>No landmark</h3>'
        '<p class="lm-more">This photo shows none of the landmarks the model knows.</p>'
        f"{_draw_evidence(answer)}{guesses}</div>"
    )


def _draw_evidence(answer: Answer) -> str:
    need = f"{answer.threshold:.2f} needed"
    if answer.landmark_score is None:
        return f'<p class="lm-label">Likeness to a known landmark is below the {need}.</p>'
    numbers = f"{answer.landmark_score:.2f} of {need}"
    mark = f'<div class="lm-need" style="left: {_to_percent(answer.threshold)}"></div>'
    bar = _draw_bar("Likeness to a known landmark", answer.landmark_score, numbers, mark)
    return f'<div class="lm-evidence">{bar}</div>'


def _draw_confidence(answer: Answer) -> str:
    """Draw how likely it is that the first name is right; services of earlier versions do not say."""
    if answer.confidence is None:
        return ""
    return _draw_bar("Chance that this name is right", answer.confidence, f"{answer.confidence:.0%}", best=True)


def _draw_others(predictions: tuple[Prediction, ...]) -> str:
    return _draw_list("If it is not, the next guesses", predictions) if predictions else ""


def _draw_list(label: str, predictions: tuple[Prediction, ...]) -> str:
    items = "".join(f"<li>{escape(read_name(item.name, item.landmark_id))}</li>" for item in predictions)
    return f'<p class="lm-label">{label}</p><ol class="lm-guesses">{items}</ol>'


def _draw_bar(label: str, part: float, numbers: str, mark: str = "", best: bool = False) -> str:
    return (
        f'<div class="lm-bar{" lm-best" if best else ""}"><div><span>{escape(label)}</span>'
        f'<span class="lm-number">{escape(numbers)}</span></div>'
        f'<div class="lm-track"><div class="lm-fill" style="width: {_to_percent(part)}"></div>{mark}</div></div>'
    )


def _to_percent(part: float) -> str:
    return f"{100 * min(max(part, 0.0), 1.0):.1f}%"


def _draw_neighbours(neighbours: tuple[Neighbour, ...]) -> str:
    if not neighbours:
        return ""
    tiles = "".join(_draw_tile(neighbour) for neighbour in neighbours)
    label = '<p class="lm-label">Known photos most like it</p>'
    return f'<div class="lm-similar">{label}<div class="lm-row">{tiles}</div></div>'


def _draw_tile(neighbour: Neighbour) -> str:
    name = escape(read_name(neighbour.name, neighbour.landmark_id))
    source = escape(neighbour.thumbnail or "")
    picture = f'<img src="{source}" alt="{name}">' if source else '<div class="lm-blank"></div>'
    return (
        f'<figure class="lm-tile" title="{escape(neighbour.image_id)}">{picture}{name}'
        f"<small>similarity {neighbour.similarity:.2f}</small>{_draw_credit(neighbour)}</figure>"
    )


def _draw_credit(neighbour: Neighbour) -> str:
    text = ", ".join(part for part in (neighbour.author, neighbour.license) if part)
    is_link = neighbour.url is not None and neighbour.url.startswith(("https://", "http://"))
    if is_link:
        link = f'href="{escape(neighbour.url or "")}" target="_blank" rel="noopener"'
        return f"<small><a {link}>{escape(text or 'source')}</a></small>"
    return f"<small>{escape(text)}</small>" if text else ""
