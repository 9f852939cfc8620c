"""The command line: one command per stage, and commands for users.

Commands import what they need themselves, so that `landmarks --help` is fast.
"""

import functools
import io
import json
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from landmarks import __version__
from landmarks.errors import ImageError, LandmarksError
from landmarks.files.faults import explain_fault
from landmarks.schema.library_settings import pin_environment
from landmarks.tracking.address import check_folders, explain_refusal, find_store, is_copy

if TYPE_CHECKING:
    from landmarks.albums.models import Model
    from landmarks.params import Params
    from landmarks.recognizer.answers import Answers
    from landmarks.recognizer.recognizer import Recognizer

REPORTS = Path("reports")
MODELS = Path("models")
WORK = Path(".work")
LOOKED_AT = 300  # photos that `init` decodes
DRIFTED = 3  # exit code; 1 is an error, and click uses 2 for wrong arguments
_LOGGED = frozenset({"train", "evaluate", "register"})  # the stages that write to the tracking store
VARIANTS = click.Choice(["plain", "augmented"])
FOLDER = click.Path(path_type=Path, file_okay=False)
STDIN = Path("-")
MODEL = click.option(
    "--model",
    envvar="LANDMARKS_MODEL",
    show_envvar=True,
    help="A recognizer directory, models:/NAME@ALIAS or models:/NAME/VERSION of MLflow, or the tag of a Bento; by "
    "default the champion of this project.",
)


class _Commands(click.Group):
    """Prints errors of landmarks, MLflow and disks in a sentence, and lists commands as they are defined."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        return list(self.commands)

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except Exception as error:
            # a full disk may be behind an error that advises something else
            own = str(error) if isinstance(error, LandmarksError) else explain_refusal(error)
            message = explain_fault(error) or own
            if message is None:
                raise
            click.echo(f"Error: {message}", err=True)
            sys.exit(1)


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"], "show_default": True})
@click.version_option(__version__)
def main() -> None:
    """Landmark recognition, from raw photos to a deployed service.

    The first nine commands are the stages of the pipeline, in order. `dvc repro` runs those whose inputs or parameters
    changed; a command runs one stage by hand. Their parameters are in params.yaml.

    \b
    A first run:        dvc repro
    Another data set:   landmarks params landmarks81 && dvc repro
    Name a landmark:    landmarks classify PHOTO
    """  # noqa: D301 - click wants the character
    _prepare_process()


def _prepare_process() -> None:
    """Make this process independent of the settings of the machine; docs/reliability.md lists them.

    Raises:
        LandmarksError: file names are not read as UTF-8, or Python leaves out docstrings.
    """
    if sys.flags.optimize > 1:
        raise LandmarksError("Python runs without docstrings, which libraries need. Unset PYTHONOPTIMIZE.")
    if (encoding := sys.getfilesystemencoding()) != "utf-8":
        raise LandmarksError(
            f"Python reads file names as {encoding} here, not as UTF-8. Set PYTHONUTF8=1 and try again."
        )
    pin_environment()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # names may have any letter, and bytes of file names that are not UTF-8 are escaped as in JSON
            stream.reconfigure(encoding="utf-8", errors="backslashreplace")
    if any(option.startswith("error") for option in sys.warnoptions):
        sys.warnoptions.clear()  # workers get them too
        warnings.simplefilter("default")  # a deprecation inside a library is no error of a command


def _stage(run: Callable[..., Path]) -> click.Command:
    """Make a command of a stage: `run` gets `params` too, and returns the path that it wrote."""

    @functools.wraps(run)
    def command(**arguments: Any) -> None:
        from landmarks.files.writing import hold_lock
        from landmarks.params import read_params
        from landmarks.tracking.outcomes import describe_outcome

        check_folders()
        params = read_params()
        Path.home()  # without one, BentoML makes a folder named ~
        name = " ".join(filter(None, [run.__name__, arguments.get("variant")]))
        # two processes of one stage would write the same outputs
        with hold_lock(WORK / f"{name.replace(' ', '-')}.lock", f"running `landmarks {name}`"):
            out = run(params=params, **arguments)
        found = describe_outcome(run.__name__, arguments.get("variant", ""), REPORTS, MODELS)
        click.echo(f"{found or 'Located the photos'}. Wrote {out}")
        if run.__name__ in _LOGGED and is_copy():
            click.echo(f"This folder is DVC's copy of the project; {run.__name__} logged to {find_store()}", err=True)

    return main.command()(command)


@_stage
@click.argument("out", type=FOLDER, default="data/raw")
def acquire(out: Path, params: "Params") -> Path:
    """Read the tables and locate the photos, or draw the demo."""
    from landmarks.stages.acquire import acquire as run

    return run(out, params.acquire)


@_stage
@click.argument("raw", type=FOLDER, default="data/raw")
@click.argument("out", type=FOLDER, default="data/validated")
def validate(raw: Path, out: Path, params: "Params") -> Path:
    """Check tables and photos with Great Expectations; fail if an expectation does not hold."""
    from landmarks.stages.validate import validate as run

    return run(raw, out, REPORTS, params.validate_)


@_stage
@click.argument("validated", type=FOLDER, default="data/validated")
@click.argument("out", type=FOLDER, default="data/selected")
def select(validated: Path, out: Path, params: "Params") -> Path:
    """Choose landmarks and photos, and split them into train, val and test."""
    from landmarks.stages.select import select as run

    return run(validated, out, REPORTS / "selection", params.select)


@_stage
@click.argument("selected", type=FOLDER, default="data/selected")
@click.argument("out", type=FOLDER, default="data/shards")
@click.option("--workers", type=click.IntRange(min=1), help="Number of processes; by default one per processor.")
def prepare(selected: Path, out: Path, workers: int | None, params: "Params") -> Path:
    """Decode and resize photos into TFRecord shards of equal square images."""
    from landmarks.stages.prepare import prepare as run

    return run(selected, out, REPORTS / "preparation", params.prepare, work=WORK / "prepare", workers=workers)


@_stage
@click.argument("variant", type=VARIANTS)
@click.argument("shards", type=FOLDER, default="data/shards")
@click.argument("models", type=FOLDER, default=MODELS)
def train(variant: str, shards: Path, models: Path, params: "Params") -> Path:
    """Train the ResNet-50, plain or augmented; a killed training resumes after its last epoch."""
    from landmarks.stages.train import train as run

    out, reports = models / variant / "network", REPORTS / "train" / variant
    return run(variant, shards, out, reports, params, work=WORK / "train")


@_stage
@click.argument("variant", type=VARIANTS)
@click.argument("shards", type=FOLDER, default="data/shards")
@click.argument("models", type=FOLDER, default=MODELS)
def index(variant: str, shards: Path, models: Path, params: "Params") -> Path:
    """Export the network for serving, embed the training photos, and calibrate OOD detection on val."""
    from landmarks.stages.index import index as run

    return run(shards, models / variant / "network", models / variant, params.index, params.export)


@_stage
@click.argument("variant", type=VARIANTS)
@click.argument("shards", type=FOLDER, default="data/shards")
@click.argument("models", type=FOLDER, default=MODELS)
def evaluate(variant: str, shards: Path, models: Path, params: "Params") -> Path:
    """Evaluate on the test split, draw charts, and log both to the run of the training."""
    from landmarks.stages.evaluate import evaluate as run

    receipts, out = REPORTS / "train" / variant, REPORTS / "evaluate" / variant
    return run(shards, models / variant, receipts, out, params.evaluate, params.augmentation)


@_stage
def register(params: "Params") -> Path:
    """Compare the variants, apply the gate, and register the better one as the champion."""
    from landmarks.stages.register import register as run

    return run(MODELS, REPORTS, Path("data/shards"), params.register_, params.export)


@_stage
def package(params: "Params") -> Path:
    """Package the registered champion as a Bento for deployment."""
    from landmarks.stages.package import package as run

    return run(REPORTS, params)


@main.command()
@click.argument("paths", nargs=-1, required=True, type=click.Path(path_type=Path, allow_dash=True))
@click.option("-k", type=click.IntRange(min=1), help="Number of landmarks per photo.  [default: 1; --json: 5]")
@click.option("-v", "--verbose", is_flag=True, help="Show the evidence, and five landmarks unless -k says otherwise.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object per photo.")
@click.option("--csv", "as_csv", is_flag=True, help="A CSV table.")
@click.option("--output", type=click.Path(path_type=Path, dir_okay=False), help="Write to this file, at the end.")
@MODEL
def classify(
    paths: tuple[Path, ...],
    k: int | None,
    verbose: bool,
    as_json: bool,
    as_csv: bool,
    output: Path | None,
    model: str | None,
) -> None:
    """Recognize the landmarks in photos: files, or folders with all photos below them; - reads a photo from stdin.

    Prints a line per photo: the landmark and the confidence, the chance that this name is right, or "no landmark".

    Of a folder, files with the suffix of a photo are answered, and files without a suffix that begin like one. Hidden
    and system folders and everything else are left out, and counted on stderr. A photo that cannot be read is named
    there too, and the others are still answered; the exit code is then 1.

    \b
    landmarks classify holidays/ --csv --output holidays.csv
    landmarks classify photo.jpg -v --model models:/landmarks@champion
    """  # noqa: D301 - click wants the character
    from landmarks.files.writing import write_text
    from landmarks.recognizer.answers import Summary, write_csv_lines, write_json_lines, write_lines

    if as_json and as_csv:
        raise click.UsageError("--json and --csv cannot be used together.")
    many = k or (5 if as_json or verbose else 1)
    summary = Summary()
    with _open_recognizer(model) as recognizer:
        files = _find_photos(paths)
        answers = _report_errors(summary.count(_classify_files(recognizer, files, many)), as_json or as_csv)
        if as_json:
            lines = write_json_lines(answers)
        else:
            lines = write_csv_lines(answers) if as_csv else write_lines(answers, many, verbose)
        if output:
            write_text(output, "".join(f"{line}\n" for line in lines))
        else:
            for line in lines:
                click.echo(line)
    if len(files) > 1:
        click.echo(summary.describe(), err=True)
    if output:
        click.echo(f"Wrote {output}", err=True)
    if summary.unreadable:
        sys.exit(1)


@main.command()
@click.argument("paths", nargs=-1, type=click.Path(path_type=Path))
@MODEL
@click.option("--url", help="Let a running service answer, for example http://127.0.0.1:3000.")
@click.option("--min-confidence", default=0.5, type=click.FloatRange(0, 1), help="Below it a photo gets no tag.")
@click.option("--top", default=1, type=click.IntRange(1, 5), help="The most landmarks of a photo.")
@click.option("--language", help="Language of the names where the model has them, such as de; by default the user's.")
@click.option(
    "--sidecar",
    type=click.Choice(["full", "stem", "none"]),
    default="full",
    help="Names of new sidecars: photo.jpg.xmp, photo.xmp, or write none.",
)
@click.option(
    "--gps",
    type=click.Path(path_type=Path, dir_okay=False, exists=True),
    help="A table landmark_id,latitude,longitude: photos without a place get the landmark's, marked as estimated. "
    "Without it, a later run takes these places back.",
)
@click.option("--csv", "csv_path", type=click.Path(path_type=Path, dir_okay=False), help="Write a table of all photos.")
@click.option("--json", "json_path", type=click.Path(path_type=Path, dir_okay=False), help="Write JSON lines.")
@click.option("--report", type=click.Path(path_type=Path, dir_okay=False), help="Write a page to look through.")
@click.option("--album", type=FOLDER, help="Make a folder per landmark with links to its photos.")
@click.option("--hard-links", "linking", flag_value="hard", help="Of --album: hard links.")
@click.option("--copy", "linking", flag_value="copy", help="Of --album: copies.")
@click.option("--force", is_flag=True, help="Answer and write all photos again, not only new and changed ones.")
@click.option("--watch", is_flag=True, help="Go on, and tag photos as they arrive.")
@click.option("--dry-run", is_flag=True, help="List what would change, and write no sidecar.")
@click.option("--undo", is_flag=True, help="Take back what was written.")
@click.option("--status", is_flag=True, help="Show what is known about the photos.")
@click.option("--doctor", is_flag=True, help="Check what tagging needs: the model, formats, folders, the clock.")
def tag(paths: tuple[Path, ...], model: str | None, url: str | None, **options: Any) -> None:
    """Name the landmarks in your photos: write keywords beside them that photo programs read.

    PATHS are folders with photos, or photos. Each photo of a landmark gets a sidecar, photo.jpg.xmp, with the keyword
    Places/Landmarks/<name>; digiKam, Lightroom, darktable, Immich and PhotoPrism read it. The photos themselves are
    never touched, an existing sidecar keeps all that others wrote, and --undo takes everything back.

    Photos without a landmark, and those below --min-confidence, get no tag. A second run looks only at new and changed
    photos, and at those for which it is given other options. The exit code is 1 if a photo failed.

    \b
    landmarks tag ~/Pictures --dry-run
    landmarks tag ~/Pictures --report landmarks.html
    landmarks tag ~/Pictures --undo
    """  # noqa: D301 - click wants the character
    from landmarks.albums.command import Options, run_tagging

    is_given = click.get_current_context().get_parameter_source("model") == click.core.ParameterSource.COMMANDLINE
    chosen = Options(**options)
    chosen.check(paths, model if is_given else None, url)

    @contextmanager
    def open_model() -> Iterator["Model"]:
        from landmarks.albums.models import LocalModel, RemoteModel
        from landmarks.recognizer.recognizer import Recognizer

        if url:
            with closing(RemoteModel(url)) as remote:
                yield remote
            return
        with _locate_recognizer(model) as located:
            recognizer = Recognizer.load(located.folder, verify=not located.is_checked)
            yield LocalModel(recognizer, located.folder, located.name, located.version)

    if not run_tagging(paths, chosen, open_model):
        sys.exit(1)


@main.command()
@click.argument("photo", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="One JSON object per similar photo.")
@click.option("-k", default=10, type=click.IntRange(min=1), help="Number of similar photos.")
@MODEL
def search(photo: Path, as_json: bool, k: int, model: str | None) -> None:
    """Show the training photos most similar to a photo."""
    from landmarks.photos.walk import read_photo

    with _open_recognizer(model) as recognizer:
        found = recognizer.search([read_photo(photo)], k)[0]
    for neighbour in found:
        if as_json:
            click.echo(json.dumps(asdict(neighbour), ensure_ascii=False))
        else:
            click.echo(f"{neighbour.similarity:6.3f}  {neighbour.image_id}  {neighbour.name} ({neighbour.landmark_id})")
            if credit := ", ".join(filter(None, (neighbour.author, neighbour.license, neighbour.url))):
                click.echo(f"        {credit}")


@main.command()
@click.argument("photos", type=click.Path(path_type=Path, exists=True))
@click.argument("out", type=click.Path(path_type=Path, dir_okay=False))
@click.option("--retrieval", is_flag=True, help="Write similar gallery photos instead of landmarks.")
@click.option("--threshold", type=float, help="Leave the cell empty below this confidence.")
@MODEL
def submit(photos: Path, out: Path, retrieval: bool, threshold: float | None, model: str | None) -> None:
    """Write a Kaggle submission for a folder of test photos.

    PHOTOS is searched recursively, by the rules of `landmarks classify`, so Kaggle's test/a/b/c/<id>.jpg and a flat
    folder both work. The id of a photo is its file name without the suffix. OUT gets one row for every photo:

    \b
    id,landmarks                      with --retrieval:  id,images
    00016575233bc956,138982 0.8731                       00016575233bc956,17660ef415d37059 92b6290d571448f6

    that is, the most likely landmark with its confidence, or up to 100 similar photos of the gallery, closest first. A
    photo that cannot be read gets an empty cell and is reported on stderr. OUT is written atomically at the end.

    GAP sorts all predictions by score, and predictions at the end cannot lower it. So --threshold only makes the file
    smaller. `landmarks score` scores the result if the solution is known.

    \b
    landmarks submit /data/test submission.csv
    landmarks submit --retrieval /data/queries submission.csv --model models/plain
    """  # noqa: D301 - click wants the character
    from landmarks.kaggle.submit import submit_recognition, submit_retrieval

    if retrieval and threshold is not None:
        raise click.UsageError("--threshold is about landmarks; it cannot be used with --retrieval.")
    files = _find_photos((photos,))
    with _open_recognizer(model) as recognizer:
        if retrieval:
            unanswered = submit_retrieval(recognizer, files, out)
        else:
            unanswered = submit_recognition(recognizer, files, out, threshold)
    for photo in unanswered:
        click.echo(f"{photo.path}: {photo.reason}", err=True)
    click.echo(f"Wrote {out}: {len(files):,} photos, {len(unanswered):,} of them unreadable with an empty cell.")


@main.command()
@click.argument("submission", type=click.Path(path_type=Path))
@click.argument("solution", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="All metrics as one JSON object.")
def score(submission: Path, solution: Path, as_json: bool) -> None:
    """Score a Kaggle submission against its solution.

    The header of SOLUTION determines the task:

    \b
    id,landmarks,Usage   recognition: GAP, GAP without distractors (non-landmark photos), top-1
    id,images,Usage      retrieval: mAP@100, precision and recall, position of the first hit

    as published with Google Landmarks v2: recognition_solution_v2.1.csv and retrieval_solution_v2.1.csv. There are
    metrics for the rows with Usage Public, for those with Private, and for all; rows with Ignored do not count. GAP
    sorts all predictions by score, so a wrong answer with a high score costs more. Distractors should have a low score
    or an empty cell.

    \b
    landmarks score submission.csv recognition_solution_v2.1.csv
    """  # noqa: D301 - click wants the character
    from landmarks.kaggle.score import score_submission

    scores = score_submission(submission, solution)
    click.echo(json.dumps(scores.as_json()) if as_json else scores.describe())


@main.command()
@click.option("--json", "as_json", is_flag=True, help="One JSON object per version.")
def models(as_json: bool) -> None:
    """List the registered versions, their aliases and scores."""
    from landmarks.tracking.registry import list_models

    check_folders()
    for version in list_models():
        click.echo(json.dumps(version.as_json()) if as_json else version.describe())


@main.command()
def sync() -> None:
    """Reconcile the tracking store with the receipts in this workspace.

    Runs, metrics and models that are missing or differ are logged again from the files. Run it after the store was
    deleted, after `dvc pull`, and after DVC restored an earlier result.
    """
    from landmarks.tracking.sync import sync as run

    check_folders()
    click.echo(run(MODELS, REPORTS).describe())


@main.command()
@click.option("-n", "--commits", default=1, type=click.IntRange(1), help="Show those of the last N commits too.")
def experiments(commits: int) -> None:
    """Compare the experiments of `dvc exp run`: the better variant's scores, and what each changed.

    \b
    dvc exp run -S train.epochs=20 -n longer
    landmarks experiments
    dvc exp apply longer
    """  # noqa: D301 - click wants the character
    from landmarks.tracking.experiments import format_experiments, list_experiments

    click.echo(format_experiments(list_experiments(commits)))


@main.command()
@click.option("--port", default=5000, type=click.IntRange(1, 65535), help="Where it is shown, on 127.0.0.1.")
def ui(port: int) -> None:
    """Show the tracking store in MLflow's UI, or say where a team's server shows it."""
    from landmarks.tracking.ui import find_pages, serve_pages

    check_folders()
    if pages := find_pages():
        click.echo(f"The tracking store is a server with pages of its own: {pages}")
    else:
        serve_pages(REPORTS, port)


@main.command()
@click.argument("log", type=click.Path(path_type=Path))
@click.option("--out", type=FOLDER, default=REPORTS / "drift", help="Folder for drift.json and drift.png.")
@click.option("--reference", type=FOLDER, help="Evaluation to compare with; by default that of the champion.")
def drift(log: Path, out: Path, reference: Path | None) -> None:
    """Test whether the photos in the request log LOG have drifted from the test photos.

    Scores and embeddings are compared with those of the evaluation. The exit code is 0 without drift, 3 with drift, and
    1 if they cannot be compared.
    """
    from landmarks.drift.report import describe
    from landmarks.drift.report import drift as run
    from landmarks.params import read_params

    comparisons = run(log, REPORTS, out, read_params().drift, reference)
    click.echo(f"{describe(comparisons)}\nWrote {out}")
    if any(found.drifted for found in comparisons.values()):
        sys.exit(DRIFTED)


@main.command()
@click.argument("names", nargs=-1)
def params(names: tuple[str, ...]) -> None:
    """Write params.yaml: the defaults, overridden by experiments/NAME.yaml for each name in turn.

    Without NAMES the experiments are listed. `landmarks params default` restores the defaults; `landmarks params
    landmarks81 study` trains with the recipe of the study on that data set. An experiment with `base: photos` starts
    from that recipe.
    """
    from landmarks.params import PARAMS_PATH, list_experiments, write_experiment

    if not names:
        click.echo("\n".join(list_experiments()))
        return
    write_experiment(names)
    click.echo(f"Wrote {PARAMS_PATH} for {' + '.join(names)}. Run `dvc repro` next.")


@main.command()
@click.argument("photos", type=click.Path(path_type=Path))
@click.option("--name", help="Name of the experiment; by default from that of the folder.")
@click.option("--distractors", type=FOLDER, help="A folder of photos that show no landmark, by kind in folders or not.")
@click.option("--yes", is_flag=True, help="Replace files without asking.")
def init(photos: Path, name: str | None, distractors: Path | None, yes: bool) -> None:
    """Begin with your own photos: look at a folder or table, and write an experiment for it.

    PHOTOS is a folder per landmark (perhaps below train/, val/ and test/), a CSV or Parquet table with a column of
    paths and one of labels, a data set of Hugging Face as Parquet or Arrow files, or Kaggle's layout. No photo is
    copied.

    It says what it found, and writes experiments/NAME.yaml, a listing of the photos beside it, and params.yaml. Then
    `dvc repro` does the rest. After adding photos, run it again: it renews the listing, and `dvc repro` sees them.

    \b
    landmarks init ~/photos/castles --distractors ~/photos/other && dvc repro
    """  # noqa: D301 - click wants the character
    from landmarks.params import DEFAULT_EXPERIMENT, EXPERIMENTS_PATH, read_params
    from landmarks.tables.new_experiment import choose_name, write_own_experiment
    from landmarks.tables.survey import describe, find_layout, survey

    defaults = read_params(EXPERIMENTS_PATH / f"{DEFAULT_EXPERIMENT}.yaml")
    values = find_layout(photos) | ({"distractors": str(distractors.resolve())} if distractors else {})
    found = survey(defaults.acquire.model_copy(update=values), defaults.select, LOOKED_AT)
    click.echo(describe(found, values))

    def may_replace(path: Path) -> bool:
        return yes or (sys.stdin.isatty() and click.confirm(f"{path} has other contents. Replace it?"))

    for sentence in write_own_experiment(name or choose_name(photos), values, found, may_replace):
        click.echo(sentence)
    click.echo("Run `dvc repro` next.")


@main.group()
def export() -> None:
    """Write a registered version in the form of another tool."""


@export.command()
@click.argument("folder", type=click.Path(path_type=Path, file_okay=False))
@click.option("--model", help="models:/NAME@ALIAS or models:/NAME/VERSION; by default the champion of this workspace.")
def hub(folder: Path, model: str | None) -> None:
    """Write FOLDER for the Hugging Face Hub: model card, network, labels and an example, and no photo.

    \b
    landmarks export hub castles --model models:/castles@champion
    hf upload YOUR_NAME/castles castles
    """  # noqa: D301 - click wants the character
    from landmarks.params import read_params
    from landmarks.tracking.hub import write_hub_folder
    from landmarks.tracking.registry import resolve_uri

    check_folders()
    version = resolve_uri(model or f"models:/{read_params().register_.model_name}@champion")
    click.echo(f"Wrote {write_hub_folder(version, folder)}: {version.name} version {version.version}.")


@main.command()
def summary() -> None:
    """Show the results of the last run of the pipeline, and the next commands."""
    from landmarks.tracking.summary import describe_results

    click.echo(describe_results(REPORTS, Path("data/raw")))


@contextmanager
def _open_recognizer(model: str | None) -> Iterator["Recognizer"]:
    """Load the recognizer that a name stands for; what has to be fetched is gone at the end."""
    from landmarks.recognizer.recognizer import Recognizer

    with _locate_recognizer(model) as located:
        yield Recognizer.load(located.folder, verify=not located.is_checked)


class _Located(NamedTuple):
    """A recognizer directory, and what it is called; `is_checked` if its digests were just compared."""

    folder: Path
    name: str
    version: str = ""
    is_checked: bool = False


@contextmanager
def _locate_recognizer(model: str | None) -> Iterator[_Located]:
    """Find the recognizer directory that a name stands for; what has to be fetched is gone at the end."""
    if model is None:
        from landmarks.tracking.candidates import find_champion

        folder, name, version = find_champion(MODELS, REPORTS)
        yield _Located(folder, name, version)
    elif model.startswith("models:/"):
        from landmarks.files.writing import open_scratch
        from landmarks.tracking.registry import download_recognizer, resolve_uri

        with open_scratch("model") as folder:
            found = resolve_uri(model)
            fetched = download_recognizer(found, folder / "recognizer")
            yield _Located(fetched, found.name, str(found.version), is_checked=True)
    elif ":" in model and not Path(model).exists():
        from landmarks.serving.packaging import find_packaged_recognizer

        name, _, version = model.partition(":")
        yield _Located(find_packaged_recognizer(model), name, version)
    else:
        yield _Located(Path(model), Path(model).resolve().name)


def _classify_files(recognizer: "Recognizer", files: Sequence[Path], k: int) -> "Answers":
    """Answer the files, with a progress bar on a terminal."""
    from landmarks.photos.walk import MAX_PHOTO_BYTES, read_photo
    from landmarks.recognizer.batches import answer_files
    from landmarks.terminal import show_progress

    def read(path: Path) -> bytes:
        return sys.stdin.buffer.read(MAX_PHOTO_BYTES) if path == STDIN else read_photo(path)

    target = recognizer.network.image_format
    answers = answer_files(files, target, lambda pixels: recognizer.classify_pixels(pixels, k), read)
    return show_progress(answers, description="classifying", total=len(files), keep=False)


def _report_errors(answers: "Answers", is_data: bool) -> "Answers":
    """Name photos that cannot be read on stderr; data has a row for each of them, too."""
    for path, answer in answers:
        if isinstance(answer, ImageError) and not is_data:
            click.echo(f"{path}: {answer}", err=True)
        yield path, answer


def _find_photos(paths: tuple[Path, ...]) -> list[Path]:
    from landmarks.photos.walk import find_photos

    photos, left_out = find_photos(paths)
    if not photos:
        raise LandmarksError(f"There is no photo below {', '.join(map(str, paths))}. {left_out.describe()}".rstrip())
    if described := left_out.describe():
        click.echo(described, err=True)
    return photos


if __name__ == "__main__":
    main()
