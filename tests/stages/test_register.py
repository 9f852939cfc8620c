"""The gate, and what passing it does to a real registry."""

import shutil
from pathlib import Path

import pytest

from landmarks.errors import ArtifactError, GateError
from landmarks.evaluation.gate import measure_accuracy
from landmarks.files.parsing import read_json
from landmarks.recognizer.format import ExportPrecision
from landmarks.recognizer.recognizer import Recognizer
from landmarks.schema.vocabulary import Landmark
from landmarks.stages.register import register
from landmarks.tracking.candidates import find_champion
from landmarks.tracking.receipts import read_receipt
from landmarks.tracking.registry import (
    RegisteredVersion,
    download_recognizer,
    list_models,
    read_scores,
    resolve_alias,
    set_alias,
)
from landmarks.tracking.store import open_store
from reseal import change_sealed, renew_bundle, write_anew
from tiny_recognizers import BLUE, COLOURS, GREEN, LANDMARKS, RED, SIZE, Photo
from tiny_workspaces import (
    EXPORT,
    Workspace,
    make_params,
    use_empty_store,
    write_evaluation,
    write_shards_of_size,
    write_workspace,
)

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy:DeprecationWarning")]


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    return use_empty_store(monkeypatch, tmp_path / "store")


@pytest.fixture
def workspace(store: Path, tmp_path: Path) -> Workspace:  # noqa: ARG001
    return write_workspace(tmp_path / "workspace")


def run(workspace: Workspace, **changes: object) -> dict[str, object]:
    params = make_params(**changes)
    path = register(workspace.models, workspace.reports, workspace.shards, params, EXPORT, workspace.root)
    receipt: dict[str, object] = read_json(path)
    return receipt


def list_state() -> list[RegisteredVersion]:
    return sorted(list_models(), key=lambda version: (version.name, int(version.version)))


def make_champion(workspace: Workspace, **changes: object) -> RegisteredVersion:
    """Register a workspace of its own, so that the champion is not among the candidates of the next."""
    run(workspace, **changes)
    return resolve_alias("tiny", "champion")


def test_the_better_variant_becomes_the_champion(workspace: Workspace) -> None:
    (workspace.root / "dvc.lock").write_text("stages: {prepare: {cmd: landmarks prepare}}")
    receipt = run(workspace)
    champion, challenger = resolve_alias("tiny", "champion"), resolve_alias("tiny", "challenger")
    assert (champion.tags["variant"], challenger.tags["variant"]) == ("augmented", "plain")
    assert (receipt["model_name"], receipt["champion"]) == ("tiny", "augmented")
    versions = receipt["versions"]
    assert isinstance(versions, dict)
    assert versions["augmented"]["version"] == champion.version
    assert versions["augmented"]["scores"]["top1"] == 0.75
    run_id = read_receipt(workspace.reports / "train" / "augmented" / "run.json").run_id
    assert versions["augmented"]["run_id"] == champion.run_id == run_id
    shards = read_json(workspace.shards / "shards.json")["fingerprint"]
    assert receipt["tags"] == {"data_fingerprint": shards, "dvc_lock": champion.tags["dvc_lock"]}
    assert champion.tags["top1"] == "0.75"
    assert len(champion.tags) <= 8  # as many as a person reads
    scores = read_scores(champion)
    assert (scores["top1"], scores["top1_low"]) == (0.75, 0.375)
    card = (workspace.reports / "model_card.md").read_text()
    assert "| Top-1 accuracy | 0.750 | 0.375 to 1.000 |" in card
    assert "Grüne Brücke" in card
    assert open_store().client.get_model_version("tiny", champion.version).description == card


def test_the_registered_champion_recognizes(workspace: Workspace, tmp_path: Path) -> None:
    run(workspace)
    folder = download_recognizer(resolve_alias("tiny", "champion"), tmp_path / "fetched")
    assert measure_accuracy(Recognizer.load(folder), workspace.shards) == {
        "top1": 1.0,
        "top5": 1.0,
        "macro_recall": 1.0,
    }


def test_registering_again_changes_nothing(workspace: Workspace) -> None:
    first, before = run(workspace), list_state()
    second = run(workspace)
    assert list_state() == before
    assert second["versions"] == first["versions"]


def test_of_equal_variants_the_simpler_is_the_champion(store: Path, tmp_path: Path) -> None:  # noqa: ARG001
    workspace = write_workspace(tmp_path / "equal", {"plain": 0.5, "augmented": 0.5})
    assert run(workspace)["champion"] == "plain"


def test_a_low_score_stops_at_the_gate(workspace: Workspace) -> None:
    with pytest.raises(GateError, match=r"augmented reaches top1 0\.7500 .*register\.min_score asks for 0\.8000"):
        run(workspace, min_score=0.8)
    assert list_state() == []
    assert not (workspace.reports / "registration.json").exists()


def test_the_champion_is_found_in_the_workspace_until_it_is_made_again(workspace: Workspace) -> None:
    with pytest.raises(ArtifactError, match=r"registration\.json is missing: no model .* --model .*models/augmented"):
        find_champion(workspace.models, workspace.reports)
    run(workspace)
    champion = find_champion(workspace.models, workspace.reports)
    assert champion.folder == workspace.models / "augmented"
    assert (champion.name, champion.version) == ("tiny", resolve_alias("tiny", "champion").version)
    change_sealed(workspace.models / "augmented" / "index" / "index.json", threshold=0.125)
    with pytest.raises(ArtifactError, match=r"models/augmented changed after it became the champion"):
        find_champion(workspace.models, workspace.reports)
    write_anew(workspace.reports / "registration.json", {"champion": "plain"})
    with pytest.raises(ArtifactError, match=r"registration\.json is not the receipt of a registration"):
        find_champion(workspace.models, workspace.reports)


def test_a_score_of_just_the_minimum_passes(workspace: Workspace) -> None:
    assert run(workspace, min_score=0.75)["champion"] == "augmented"


@pytest.mark.parametrize("precision", ["float32", "int8"])
@pytest.mark.usefixtures("store")
def test_an_export_that_answers_otherwise_stops_at_the_gate(tmp_path: Path, precision: ExportPrecision) -> None:
    workspace = write_workspace(tmp_path / "workspace", precision=precision)
    # at 0.995, five photos of a thousand and what chance adds; at 0.99, ten and more
    parity = {"parity_photos": 1000.0, "parity_differing": 11.0, "parity_min_cosine": 0.99}
    write_evaluation(workspace, "augmented", {"top1": 0.75, **parity})
    if precision == "int8":
        assert run(workspace)["champion"] == "augmented"
        return
    with pytest.raises(GateError, match="The float32 export of augmented does not answer as its Keras network: 11 of"):
        run(workspace)
    assert list_state() == []


def test_the_recorded_score_of_the_champion_counts_on_the_same_data(workspace: Workspace, tmp_path: Path) -> None:
    champion = make_champion(workspace)
    worse = Workspace(tmp_path / "worse")
    shutil.copytree(workspace.root, worse.root)
    for variant, score in (("plain", 0.6), ("augmented", 0.7)):
        make_other(worse, variant)
        write_evaluation(worse, variant, {"top1": score})
    before = list_state()
    message = rf"at least 0\.7500 is required: the champion, version {champion.version} of tiny, reaches 0\.7500"
    with pytest.raises(GateError, match=message):
        run(worse)
    assert list_state() == before
    receipt = run(worse, max_regression=0.05)
    assert receipt["previous_champion"] == {"version": champion.version, "score": 0.75, "measured": False}
    assert resolve_alias("tiny", "champion").version != champion.version


def make_other(workspace: Workspace, variant: str) -> None:
    """Another recognizer of the same answers: its threshold differs."""
    change_sealed(workspace.models / variant / "index" / "index.json", threshold=0.25)


def test_a_champion_of_other_data_is_measured_again(store: Path, tmp_path: Path) -> None:  # noqa: ARG001
    make_champion(write_workspace(tmp_path / "old", {"plain": 0.2, "augmented": 0.4}))
    # of four photos one is labelled red and shows blue: every recognizer of colours has three right
    colours = (*COLOURS, BLUE)
    worse = write_workspace(tmp_path / "worse", {"plain": 0.5, "augmented": 0.7}, colours)
    before = list_state()
    with pytest.raises(GateError, match=r"at least 0\.7500 is required"):
        run(worse)
    assert list_state() == before
    receipt = run(write_workspace(tmp_path / "better", {"plain": 0.5, "augmented": 0.8}, colours))
    previous = receipt["previous_champion"]
    assert isinstance(previous, dict)
    assert (previous["score"], previous["measured"]) == (0.75, True)


def test_the_measure_counts_what_the_photos_show(store: Path, tmp_path: Path) -> None:  # noqa: ARG001
    # labels go round 0, 1, 2; the recognizer sees colours: three of label 0 (one right), two each of 1 and 2
    colours = (RED, GREEN, BLUE, GREEN, GREEN, RED, BLUE)
    workspace = write_workspace(tmp_path / "measured", test_colours=colours)
    recognizer = Recognizer.load(workspace.models / "plain")
    right = {0: [True, False, False], 1: [True, True], 2: [True, False]}
    assert measure_accuracy(recognizer, workspace.shards) == pytest.approx(
        {
            "top1": sum(map(sum, right.values())) / 7,
            "top5": 1.0,
            "macro_recall": sum(sum(part) / len(part) for part in right.values()) / 3,
        }
    )


def test_photos_of_another_size_are_brought_to_that_of_the_champion(store: Path, tmp_path: Path) -> None:  # noqa: ARG001
    workspace = write_workspace(tmp_path / "small")
    recognizer = Recognizer.load(workspace.models / "plain")
    photos = [Photo(f"{label:016x}", label, colour) for label, colour in enumerate((RED, GREEN, GREEN))]
    write_shards_of_size(tmp_path / "large", photos, 3 * SIZE)
    assert measure_accuracy(recognizer, tmp_path / "large")["top1"] == pytest.approx(2 / 3)


def test_a_champion_of_other_landmarks_asks_for_another_name(workspace: Workspace, tmp_path: Path) -> None:
    run(workspace)
    before = list_state()
    others = (*LANDMARKS[:2], Landmark(2, 41, "Blue Barn", 2, 1, 1))
    other = write_workspace(tmp_path / "other", test_colours=(*COLOURS, RED), landmarks=others)
    with pytest.raises(GateError, match=r"knows other landmarks \(3, 2 of them among .*another register\.model_name"):
        run(other)
    assert list_state() == before
    assert run(other, model_name="barns")["champion"] == "augmented"
    assert resolve_alias("tiny", "champion") in before


def test_a_champion_whose_files_are_lost_is_named(workspace: Workspace, store: Path, tmp_path: Path) -> None:
    run(workspace)
    shutil.rmtree(store.parent / "mlartifacts")
    other = write_workspace(tmp_path / "other", test_colours=(*COLOURS, BLUE))
    with pytest.raises(GateError, match=r"cannot be measured on the current test split.*remove its alias"):
        run(other)


def test_a_champion_set_by_hand_is_compared_by_what_it_holds(workspace: Workspace) -> None:
    run(workspace)
    set_alias(open_store(), resolve_alias("tiny", "challenger"), "champion")
    receipt = run(workspace)
    assert receipt["previous_champion"] == {"version": "1", "score": 0.5, "measured": False}
    assert resolve_alias("tiny", "champion").tags["variant"] == "augmented"


def test_a_network_unlike_its_export_registers_nothing(workspace: Workspace) -> None:
    run(workspace)
    champion = resolve_alias("tiny", "champion")
    for variant in ("plain", "augmented"):
        make_other(workspace, variant)
        (workspace.models / variant / "bundle" / "model.keras").write_bytes(b"no network")
        renew_bundle(workspace.models / variant)
        write_evaluation(workspace, variant, {"top1": 0.9})
    with pytest.raises(ArtifactError, match="cannot be loaded with Keras"):
        run(workspace)
    assert resolve_alias("tiny", "champion") == champion
    assert len(list_state()) == 2


def test_shards_of_another_preparation_are_refused(workspace: Workspace, tmp_path: Path) -> None:
    other = write_workspace(tmp_path / "other", test_colours=(RED, BLUE))
    with pytest.raises(ArtifactError, match="was trained on other shards than these"):
        register(workspace.models, workspace.reports, other.shards, make_params(), EXPORT, workspace.root)


def test_a_missing_metric_is_named(workspace: Workspace) -> None:
    with pytest.raises(ArtifactError, match="has no metric macro_recall"):
        run(workspace, metric="macro_recall")


def test_nothing_to_register_is_said(workspace: Workspace) -> None:
    shutil.rmtree(workspace.reports / "train")
    with pytest.raises(ArtifactError, match="no trained variant to register"):
        run(workspace)
