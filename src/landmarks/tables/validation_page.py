"""The outcome of a validation as one page that needs no other file and no network, unlike the Data Docs."""

from collections.abc import Iterator, Mapping, Sequence
from html import escape

from landmarks.tables.expectations import ExpectationResult, Suite

_TITLES = {
    "photos": "Photos",
    "landmarks": "Landmarks",
    "names": "Names",
    "distractors": "Distractors",
    "photo_sample": "A sample of photos, decoded",
    "distractor_sample": "A sample of distractors, decoded",
}
_STYLE = """
:root { color-scheme: light dark; --line: #8884; --bad: #c0392b; --good: #2a8f62; }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2.5rem auto; padding: 0 1.2rem; }
h1 { font-size: 1.7rem; margin: 0 0 .3rem; } h2 { font-size: 1.15rem; margin: 2rem 0 .4rem; }
p { margin: .2rem 0; } table { border-collapse: collapse; width: 100%; }
td, th { text-align: left; padding: .35rem .6rem .35rem 0; border-top: 1px solid var(--line); vertical-align: top; }
th { font-weight: 600; } td:first-child { width: 1.6rem; font-weight: 700; }
td.number { text-align: right; font-variant-numeric: tabular-nums; }
.good { color: var(--good); } .bad { color: var(--bad); } code { overflow-wrap: anywhere; }
"""


def build_validation_page(
    suites: Sequence[Suite], outcomes: Sequence[ExpectationResult], report: Mapping[str, object]
) -> str:
    """Build the page in HTML.

    Args:
        suites: that were checked.
        outcomes: of their expectations, in the same order.
        report: the content of `validation.json`.
    """
    failed = sum(not outcome.success for outcome in outcomes)
    head = "All expectations hold" if not failed else f"{failed} of {len(outcomes)} expectations do not hold"
    counts = ", ".join(f"{report[name]:,} {name}" for name in ("images", "landmarks", "distractors"))
    body = "".join(_draw_suites(suites, outcomes))
    return (
        '<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">'
        f"<title>Validation: {escape(head)}</title><style>{_STYLE}</style>"
        f'<h1 class="{"bad" if failed else "good"}">{escape(head)}</h1><p>{escape(counts)}</p>{body}</html>\n'
    )


def _draw_suites(suites: Sequence[Suite], outcomes: Sequence[ExpectationResult]) -> Iterator[str]:
    waiting = iter(outcomes)
    for suite in suites:
        rows = "".join(_draw_row(one.sentence, next(waiting)) for one in suite.expectations)
        title = escape(_TITLES.get(suite.name, suite.name))
        yield (
            f"<h2>{title} <small>({len(suite.frame):,} rows)</small></h2><table><tr><th></th><th>Expected</th>"
            f"<th>Unexpected</th><th>For example</th></tr>{rows}</table>"
        )


def _draw_row(sentence: str, outcome: ExpectationResult) -> str:
    mark = '<td class="good">✓</td>' if outcome.success else '<td class="bad">✗</td>'
    count = f"{outcome.unexpected_count:,}" if outcome.unexpected_count else ""
    examples = "<br>".join(f"<code>{escape(example)}</code>" for example in outcome.examples)
    return f'<tr>{mark}<td>{escape(sentence)}</td><td class="number">{count}</td><td>{examples}</td></tr>'
