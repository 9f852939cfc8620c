"""`landmarks tag`: from the options to what people see."""

import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click

from landmarks.albums.doctor import examine
from landmarks.albums.models import Model
from landmarks.albums.names import Names, choose_language
from landmarks.albums.outputs import AlbumFolder, Lines, Linking, Output, Table, open_output
from landmarks.albums.places import read_places
from landmarks.albums.report import Report
from landmarks.albums.state import State
from landmarks.albums.status import describe_status, forget_missing
from landmarks.albums.tagging import Settings, Tagged, Tagger
from landmarks.albums.undoing import undo
from landmarks.albums.watching import watch_photos
from landmarks.errors import LandmarksError
from landmarks.photos.walk import PhotoStream, is_photo_name, show_path
from landmarks.terminal import format_count, show_progress

if TYPE_CHECKING:
    from tqdm import tqdm

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
        kinds = [f"--{name}" for name in ("undo", "status", "doctor", "watch") if getattr(self, name)]
        if len(kinds) > 1:
            raise click.UsageError(f"{kinds[0]} and {kinds[1]} cannot be used together.")
        if kinds and (given := self._list_writing()):
            raise click.UsageError(f"{kinds[0]} and {given[0]} cannot be used together.")
        if kinds and kinds[0] != "--undo" and self.dry_run:
            raise click.UsageError(f"{kinds[0]} and --dry-run cannot be used together.")
        if not paths and not (self.status or self.doctor):
            raise click.UsageError("Name a folder of photos, for example `landmarks tag ~/Pictures --dry-run`.")
        if url and model:
            raise click.UsageError("--url names a service, which has its own model: leave out --model.")
        if self.linking and not self.album:
            raise click.UsageError("--hard-links and --copy say how --album links photos. Add --album DIR.")
        for path in paths:
            if not (path.exists() or self.status):
                raise click.UsageError(f"There is no {show_path(str(path))}. Name a folder of photos, or a photo.")
            if self.watch and not path.is_dir():
                raise click.UsageError(f"--watch waits for photos in folders, and {show_path(str(path))} is none.")
            self._check_album(path)
        self._check_outputs()

    def _list_writing(self) -> list[str]:
        """List the options that are given and say what a run writes once."""
        outputs = {"--csv": self.csv_path, "--json": self.json_path, "--report": self.report, "--album": self.album}
        settings = {"--gps": self.gps, "--language": self.language, "--force": self.force} if not self.watch else {}
        return [name for name, value in (outputs | settings).items() if value]

    def _check_outputs(self) -> None:
        """Refuse outputs that would replace each other, or a photo."""
        outputs = [path.resolve() for path in (self.csv_path, self.json_path, self.report, self.album) if path]
        if len(set(outputs)) < len(outputs):
            raise click.UsageError("--csv, --json, --report and --album need a path each.")
        for path in outputs[: len(outputs) - bool(self.album)]:
            if is_photo_name(path.name):
                raise click.UsageError(f"{path.name} has the name of a photo, and might replace one. Name another.")

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
    if options.doctor:
        return examine(paths, open_model)
    with closing(State()) as state:
        if options.status:
            click.echo(describe_status(paths, state))
            return True
        if options.undo:
            return _undo(paths, state, options.dry_run)
        settings = options.read_settings()
        with open_model() as model:
            language = choose_language(options.language, model.translations.values())
            names = Names(model.names, model.translations, language, model.identity.are_real)
            tagger = Tagger(model, names, state, settings)
            if options.watch:
                return _watch(paths, tagger)
            return _tag(PhotoStream(paths), paths, tagger, names, options, model.identity.name, state)


def _tag(
    stream: PhotoStream,
    paths: Sequence[Path],
    tagger: Tagger,
    names: Names,
    options: Options,
    model: str,
    state: State,
) -> bool:
    total = sum(1 for _ in stream)
    if not total:
        raise LandmarksError(f"There is no photo. {stream.left_out.describe()}".rstrip())
    summary = Summary(options.dry_run)
    report = Report(names, options.min_confidence) if options.report else None
    album = AlbumFolder(options.album, options.linking or "symbolic", names) if options.album else None
    with _open_tables(options, names) as tables:
        outputs: list[Output] = [*tables, *([report] if report else []), *([album] if album else [])]
        _pass_on(show_progress(tagger.tag(stream), description="tagging", total=total, keep=False), summary, outputs)
    is_complete = not stream.left_out.is_incomplete
    if album and is_complete:
        album.clear(paths)
    if report and options.report:
        report.write(options.report, f"Landmarks in {total:,} photos")
    if is_complete and not options.dry_run:
        forget_missing(paths, total, state)
    click.echo(summary.describe(tagger.of_other_models, model))
    for line in [*summary.list_problems(), *filter(None, [stream.left_out.describe()])]:
        click.echo(line, err=True)
    for path in filter(None, (options.csv_path, options.json_path, options.report, options.album)):
        click.echo(f"Wrote {path}", err=True)
    return summary.is_well and is_complete


def _pass_on(progress: "tqdm[Tagged]", summary: "Summary", outputs: Sequence[Output]) -> None:
    """Pass the photos of a run on to its outputs."""
    shown = 0
    with progress:
        for tagged in progress:
            if summary.is_dry_run and tagged.outcome in ("tagged", "untagged"):
                if not shown:
                    progress.write(f"{'sidecar':8} {'landmark, confidence':40} photo", file=sys.stdout)
                shown += 1
                progress.write(
                    f"{tagged.change:8} {_list_landmarks(tagged):40} {show_path(str(tagged.path))}", sys.stdout
                )
            summary.add(tagged)
            for output in outputs:
                try:
                    output.add(tagged)
                except LandmarksError as error:
                    summary.add_problem(tagged, str(error))


@contextmanager
def _open_tables(options: Options, names: Names) -> Iterator[list[Output]]:
    with ExitStack() as stack:
        tables: list[Output] = []
        if options.csv_path:
            tables.append(stack.enter_context(open_output(Table, options.csv_path, names)))
        if options.json_path:
            tables.append(stack.enter_context(open_output(Lines, options.json_path, names)))
        yield tables


def describe_change(tagged: Tagged) -> str:
    """Describe in a line what changed."""
    return f"{show_path(str(tagged.path))}: {_list_landmarks(tagged) or 'no tag any more'}"


def _list_landmarks(tagged: Tagged) -> str:
    return "; ".join(f"{name}, {confidence:.0%}" for _, name, confidence in tagged.landmarks)


def _watch(paths: Sequence[Path], tagger: Tagger) -> bool:
    failed: set[Path] = set()
    for arrived in watch_photos(paths):
        for tagged in tagger.tag(arrived):
            if tagged.error:
                failed.add(tagged.path)
                click.echo(f"{show_path(str(tagged.path))}: {tagged.error}", err=True)
                continue
            failed.discard(tagged.path)
            if tagged.outcome != "unchanged":
                click.echo(describe_change(tagged))
        if isinstance(arrived, PhotoStream):
            click.echo("Waiting for photos; Ctrl+C ends.", err=True)
    return not failed


def _undo(paths: Sequence[Path], state: State, dry_run: bool) -> bool:
    counts = Counter[str]()
    for undone in show_progress(undo(paths, state, dry_run), description="undoing", unit="sidecar", keep=False):
        counts[undone.outcome] += 1
        if undone.error:
            click.echo(f"{show_path(str(undone.path))}: {undone.error}", err=True)
    would = "would be " if dry_run else ""
    kinds = {
        "deleted": f"{would}deleted",
        "restored": f"{would}restored byte for byte",
        "cleaned": f"{would}cleaned of our tags, and left as others wrote them since",
        "failed": "failed",
    }
    parts = [f"{counts[kind]:,} {words}" for kind, words in kinds.items() if counts[kind]]
    click.echo(f"Sidecars: {', '.join(parts) or 'none has anything of ours'}")
    return not counts["failed"]


class Summary:
    """Counts what a run did."""

    def __init__(self, is_dry_run: bool) -> None:
        self.is_dry_run = is_dry_run
        self._outcomes = Counter[str]()
        self._names = Counter[str]()
        self._named = 0
        self._answered = 0
        self._problems = 0
        self._shown: list[str] = []

    @property
    def is_well(self) -> bool:
        """Whether nothing failed."""
        return not self._problems

    def add(self, tagged: Tagged) -> None:
        """Take a photo."""
        self._outcomes[tagged.outcome] += 1
        self._answered += tagged.answered
        self._named += bool(tagged.landmarks)
        self._names.update(name for _, name, _ in tagged.landmarks)
        if tagged.error:
            self.add_problem(tagged, tagged.error)

    def add_problem(self, tagged: Tagged, problem: str) -> None:
        """Take what went wrong with a photo."""
        self._problems += 1
        if len(self._shown) < _SHOWN_FAILURES:
            self._shown.append(f"{show_path(str(tagged.path))}: {problem}")

    def describe(self, of_other_models: int, model: str) -> str:
        """Say what was done."""
        total, failed = self._outcomes.total(), self._outcomes["failed"]
        changed = self._outcomes["tagged"] + self._outcomes["untagged"]
        landmarks = format_count(len(self._names), "landmark")
        first = (
            f"{format_count(total, 'photo')}: {self._named:,} with one of {landmarks}, "
            f"{total - self._named - failed:,} without a tag, {failed:,} failed; {self._answered:,} answered now, "
            f"{format_count(changed, 'sidecar')} {'would change' if self.is_dry_run else 'written'}"
        )
        lines = [first, *(f"  {count:>6,}  {name}" for name, count in self._names.most_common(_MOST_LANDMARKS))]
        if (more := len(self._names) - _MOST_LANDMARKS) > 0:
            lines.append(f"          and {format_count(more, 'more landmark')}")
        if of_other_models:
            lines.append(f"Another model had answered {format_count(of_other_models, 'photo')}; now {model} has")
        return "\n".join(lines)

    def list_problems(self) -> list[str]:
        """List what went wrong, the first of it in words."""
        more = self._problems - len(self._shown)
        return [*self._shown, *([f"and {more:,} more"] if more > 0 else [])]
