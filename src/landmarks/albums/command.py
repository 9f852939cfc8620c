"""`landmarks tag`: from the options to what people see."""

import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import click

from landmarks.albums.doctor import examine
from landmarks.albums.models import Model
from landmarks.albums.names import Names
from landmarks.albums.outputs import AlbumFolder, Lines, Linking, Output, Table, open_output
from landmarks.albums.places import read_places
from landmarks.albums.report import Report
from landmarks.albums.state import State
from landmarks.albums.status import describe_status
from landmarks.albums.tagging import Settings, Tagged, Tagger
from landmarks.albums.undoing import undo
from landmarks.albums.watching import watch_photos
from landmarks.errors import LandmarksError
from landmarks.photos.walk import LeftOut, PhotoStream
from landmarks.terminal import show_progress

_SHOWN_FAILURES = 20
_MOST_LANDMARKS = 10

OpenModel = Callable[[], AbstractContextManager[Model]]


@dataclass(frozen=True)
class Options:
    """The options of the command, by their names there."""

    min_confidence: float
    top: int
    language: str | None
    sidecar: Literal["full", "stem", "none"]
    gps: Path | None
    csv_path: Path | None
    json_path: Path | None
    report: Path | None
    album: Path | None
    linking: Linking | None
    force: bool
    watch: bool
    dry_run: bool
    undo: bool
    status: bool
    doctor: bool

    def check(self, paths: Sequence[Path], model: str | None, url: str | None) -> None:
        """Refuse what cannot be meant.

        Raises:
            click.UsageError: no path is given, or options contradict each other.
        """
        others = [name for name in ("undo", "status", "doctor", "watch") if getattr(self, name)]
        if len(others) > 1:
            raise click.UsageError(f"--{others[0]} and --{others[1]} cannot be used together.")
        if not paths and not (self.status or self.doctor):
            raise click.UsageError("Name a folder of photos, for example `landmarks tag ~/Pictures --dry-run`.")
        if url and model:
            raise click.UsageError("--url names a service, which has its own model: leave out --model.")
        if self.linking and not self.album:
            raise click.UsageError("--hard-links and --copy say how --album links photos. Add --album DIR.")
        if self.watch and self.dry_run:
            raise click.UsageError("--watch writes sidecars as photos arrive; it cannot be used with --dry-run.")
        for path in paths:
            if not path.exists():
                raise click.UsageError(f"There is no {path}. Name a folder of photos, or a photo.")
            self._check_album(path)

    def _check_album(self, path: Path) -> None:
        """Refuse copies below the photos: the next run would take them for photos."""
        inside = self.album and self.album.resolve().is_relative_to(path.resolve())
        if inside and self.linking in ("hard", "copy"):
            raise click.UsageError(f"--album {self.album} lies in {path}, where its copies would be tagged too.")

    def read_settings(self) -> Settings:
        """Return what is to be written."""
        return Settings(
            style="stem" if self.sidecar == "stem" else "full",
            min_confidence=self.min_confidence,
            top=self.top,
            places=read_places(self.gps) if self.gps else None,
            sidecars=self.sidecar != "none",
            force=self.force,
            dry_run=self.dry_run,
        )


def run_tagging(paths: Sequence[Path], options: Options, open_model: OpenModel) -> bool:
    """Do what the options say; return whether everything went well."""
    with closing(State()) as state:
        if options.status:
            click.echo(describe_status(paths, state))
            return True
        if options.undo:
            return _undo(paths, state, options.dry_run)
        if options.doctor:
            return examine(paths, state, open_model)
        settings = options.read_settings()
        with open_model() as model:
            if options.language and not any(options.language in names for names in model.translations.values()):
                known = sorted({language for names in model.translations.values() for language in names})
                raise LandmarksError(
                    f"The model has no names in the language {options.language}. It has: {', '.join(known) or 'none'}."
                )
            names = Names(model.names, model.translations, options.language, model.identity.are_real)
            tagger = Tagger(model, names, state, settings)
            is_well = _tag(PhotoStream(paths), tagger, names, options, model.identity.name)
            if options.watch:
                is_well &= _watch(paths, tagger)
    return is_well


def _tag(stream: PhotoStream, tagger: Tagger, names: Names, options: Options, title: str) -> bool:
    total = sum(1 for _ in stream)
    if not total:
        raise LandmarksError(f"There is no photo. {stream.left_out.describe()}".rstrip())
    summary = Summary(options.dry_run)
    report = Report(names, options.min_confidence) if options.report else None
    with _open_outputs(options, names) as outputs:
        outputs += [summary, *([report] if report else [])]
        answers = tagger.tag(stream)
        with show_progress(answers, description="tagging", total=total, keep=False) as progress:
            for tagged in progress:
                if options.dry_run and tagged.outcome in ("tagged", "untagged"):
                    progress.write(describe_change(tagged), file=sys.stdout)
                for output in outputs:
                    output.add(tagged)
    if report and options.report:
        report.write(options.report, f"Landmarks in {total:,} photos")
    click.echo(summary.describe(stream.left_out, tagger.of_other_models, title))
    for path in (options.csv_path, options.json_path, options.report, options.album):
        if path:
            click.echo(f"Wrote {path}", err=True)
    return summary.is_well and not stream.left_out.is_incomplete


@contextmanager
def _open_outputs(options: Options, names: Names) -> Iterator[list[Output]]:
    with ExitStack() as stack:
        outputs: list[Output] = []
        if options.csv_path:
            outputs.append(stack.enter_context(open_output(Table, options.csv_path, names)))
        if options.json_path:
            outputs.append(stack.enter_context(open_output(Lines, options.json_path, names)))
        if options.album:
            outputs.append(AlbumFolder(options.album, options.linking or "symbolic"))
        yield outputs


def describe_change(tagged: Tagged) -> str:
    """Describe in a line what would change."""
    named = ", ".join(f"{name} ({confidence:.0%})" for _, name, confidence in tagged.landmarks)
    return f"{tagged.path}: {named or 'no tag any more'}"


def _watch(paths: Sequence[Path], tagger: Tagger) -> bool:
    click.echo("Waiting for photos; Ctrl+C ends.", err=True)
    is_well = True
    for arrived in watch_photos(paths):
        for tagged in tagger.tag(arrived):
            if tagged.error:
                is_well = False
                click.echo(f"{tagged.path}: {tagged.error}", err=True)
            elif tagged.outcome != "unchanged":
                click.echo(describe_change(tagged))
    return is_well


def _undo(paths: Sequence[Path], state: State, dry_run: bool) -> bool:
    counts = Counter[str]()
    for undone in show_progress(undo(paths, state, dry_run), description="undoing", unit="sidecar", keep=False):
        counts[undone.outcome] += 1
        if undone.error:
            click.echo(f"{undone.path}: {undone.error}", err=True)
    would = "would be " if dry_run else ""
    click.echo(
        f"{counts.total():,} sidecars: {counts['deleted']:,} {would}deleted, {counts['restored']:,} {would}restored, "
        f"{counts['cleaned']:,} {would}cleaned of our tags and otherwise left as others wrote them, "
        f"{counts['failed']:,} failed"
    )
    return not counts["failed"]


class Summary:
    """Counts what a run did."""

    def __init__(self, dry_run: bool) -> None:
        self._dry_run = dry_run
        self._outcomes = Counter[str]()
        self._names = Counter[str]()
        self._named = 0
        self._answered = 0
        self._failures: list[Tagged] = []

    @property
    def is_well(self) -> bool:
        """Whether no photo failed."""
        return not self._outcomes["failed"]

    def add(self, tagged: Tagged) -> None:
        """Take a photo."""
        self._outcomes[tagged.outcome] += 1
        self._answered += tagged.answered
        self._named += bool(tagged.landmarks)
        self._names.update(name for _, name, _ in tagged.landmarks)
        if tagged.outcome == "failed" and len(self._failures) < _SHOWN_FAILURES:
            self._failures.append(tagged)

    def describe(self, left_out: LeftOut, of_other_models: int, model: str) -> str:
        """Say what was done, what failed, and what was left out."""
        total = self._outcomes.total()
        changed = self._outcomes["tagged"] + self._outcomes["untagged"]
        verb = "would change" if self._dry_run else "written"
        failed = self._outcomes["failed"]
        first = (
            f"{total:,} photos: {self._named:,} of {len(self._names):,} landmarks, {total - self._named - failed:,} "
            f"without a tag, {failed:,} failed; {self._answered:,} answered now, {changed:,} sidecars {verb}"
        )
        lines = [first]
        lines += [f"  {count:>6,}  {name}" for name, count in self._names.most_common(_MOST_LANDMARKS)]
        if (more := len(self._names) - _MOST_LANDMARKS) > 0:
            lines.append(f"          and {more:,} more landmarks")
        if of_other_models:
            lines.append(f"{of_other_models:,} photos had been answered by another model, and now by {model}")
        lines += [f"{tagged.path}: {tagged.error}" for tagged in self._failures]
        if (more := self._outcomes["failed"] - len(self._failures)) > 0:
            lines.append(f"and {more:,} more that failed")
        return "\n".join([*lines, *filter(None, [left_out.describe()])])
