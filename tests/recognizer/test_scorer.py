"""The landmark score: evidence against loops written out, and a score that follows it."""

import math

import numpy as np
import pydantic
import pytest

from landmarks.export.calibration import fit_probe, fit_scorer_model
from landmarks.recognizer.format import ScorerCoefficients
from landmarks.recognizer.logistic import LogisticModel
from landmarks.recognizer.scorer import (
    Evidence,
    LandmarkScorer,
    ScorerModels,
    collect_evidence,
)
from landmarks.recognizer.similarity_index import SimilarityIndex


def make_embeddings(count: int, seed: int) -> np.ndarray:
    values = np.random.default_rng(seed).normal(size=(count, 8)).astype(np.float32)
    # numbers that half precision holds exactly, as the gallery keeps them
    return np.asarray(values / np.linalg.norm(values, axis=1, keepdims=True), np.float16).astype(np.float32)


GALLERY, DISTRACTORS, QUERIES = make_embeddings(40, 0), make_embeddings(25, 1), make_embeddings(12, 2)
LABELS = np.arange(40) % 4
PROBABILITIES = np.random.default_rng(3).dirichlet(np.ones(4), 12).astype(np.float32)


def mean_of_nearest(query: np.ndarray, others: np.ndarray) -> float:
    return sum(sorted((float(query @ other) for other in others), reverse=True)[:10]) / min(10, len(others))


def collect(queries: np.ndarray = QUERIES, known: bool = True) -> Evidence:
    distractors = SimilarityIndex.from_embeddings(DISTRACTORS) if known else None
    return collect_evidence(SimilarityIndex.from_embeddings(GALLERY), LABELS, distractors, PROBABILITIES, queries)


def test_evidence_is_what_a_loop_finds() -> None:
    evidence = collect()
    for row, query in enumerate(QUERIES):
        similarities = [float(query @ other) for other in GALLERY]
        order = sorted(range(40), key=lambda place: -similarities[place])
        best = int(PROBABILITIES[row].argmax())
        odds = float(PROBABILITIES[row][best]) / (1 - float(PROBABILITIES[row][best]))
        assert evidence.log_odds[row] == pytest.approx(math.log(odds), abs=1e-4)
        assert evidence.nearest[row] == order[0]
        assert evidence.similarity[row] == pytest.approx(similarities[order[0]], abs=1e-5)
        assert evidence.agreement[row] == pytest.approx(sum(LABELS[place] == best for place in order[:10]) / 10)
        assert evidence.distractor_similarity[row] == pytest.approx(mean_of_nearest(query, DISTRACTORS), abs=1e-5)
    assert not collect(known=False).distractor_similarity.any()
    np.testing.assert_allclose(evidence.none, math.log(1e-5 / (1 - 1e-5)), rtol=1e-4)  # probabilities sum to 1


def test_what_the_probabilities_lack_to_one_is_evidence_against_a_landmark() -> None:
    shares = np.linspace(0, 1, 12)[:, None].astype(np.float32)
    found = collect_evidence(SimilarityIndex.from_embeddings(GALLERY), LABELS, None, shares * PROBABILITIES, QUERIES)
    for row, share in enumerate(shares[:, 0].tolist()):
        none = min(max(1 - share, 1e-5), 1 - 1e-5)
        assert found.none[row] == pytest.approx(math.log(none / (1 - none)), rel=1e-3, abs=1e-5)


def test_a_photo_with_nothing_in_it_resembles_nothing() -> None:
    queries = QUERIES.copy()
    queries[4] = 0
    evidence = collect(queries)
    assert evidence.nearest[4] == -1
    assert evidence.similarity[4] == evidence.agreement[4] == evidence.distractor_similarity[4] == 0
    np.testing.assert_array_equal(np.delete(evidence.as_features(), 4, 0), np.delete(collect().as_features(), 4, 0))


def test_the_scores_follow_the_weights_of_the_evidence() -> None:
    landmark = LogisticModel(np.array([0.5, 2.0, 1.0, -3.0, 0.3, -0.7]), -0.2)
    answer = LogisticModel(np.array([0.1, 1.0, 2.0, -1.0, -0.3, 0.2]), 0.4)
    probe = LogisticModel(np.arange(8.0), -1.0)
    gallery, known = SimilarityIndex.from_embeddings(GALLERY), SimilarityIndex.from_embeddings(DISTRACTORS)
    scorer = LandmarkScorer(gallery, LABELS, known, ScorerModels(landmark, answer, probe))
    queries = QUERIES.copy()
    queries[4] = 0
    evidence = scorer.collect(PROBABILITIES, queries)
    for row, query in enumerate(queries):
        expected = float(sum(w * x for w, x in enumerate(query))) - 1 if row != 4 else 0
        assert evidence.probe[row] == pytest.approx(expected, abs=1e-4)
    for model, scores in ((landmark, scorer.score(evidence)), (answer, scorer.confidence(evidence))):
        for row, score in enumerate(scores):
            log_odds = evidence.as_features()[row] @ model.weights + model.bias
            assert score == pytest.approx(1 / (1 + math.exp(-log_odds)), rel=1e-5)


def test_the_probe_scores_no_landmark_photo_that_it_learned_from() -> None:
    landmarks, distractors = make_embeddings(30, 5), make_embeddings(40, 6)
    landmarks[:, 0] += 1  # what sets all landmarks apart
    for kind in range(5):  # what sets single ones apart
        landmarks[kind::5, 1 + kind] += 3
    probe, held_out = fit_probe(landmarks, distractors)
    assert held_out.mean() > probe.score(distractors).mean()
    for fold in range(5):
        alone, _ = fit_probe(landmarks[np.arange(30) % 5 != fold], distractors)
        np.testing.assert_allclose(held_out[fold::5], alone.score(landmarks[fold::5]))
        assert held_out[fold::5].mean() < probe.score(landmarks[fold::5]).mean()


def test_the_fitted_score_ranks_right_answers_above_wrong_ones() -> None:
    random = np.random.default_rng(0)
    correct = np.arange(200) < 100
    odds, similarity, agreement, penalty, probe, none = (
        random.normal(np.where(correct, high, 0), 1).astype(np.float32) for high in (2, 1, 1, -1, 1, -1)
    )
    evidence = Evidence(odds, similarity, agreement, penalty, probe, none, np.zeros(200, np.int64))
    model = fit_scorer_model(evidence, correct, np.ones(200))
    assert (np.sign(model.weights) == [1, 1, 1, -1, 1, -1]).all()
    scores = model.score(evidence.as_features())
    assert scores[correct].mean() > scores[~correct].mean() + 2


@pytest.mark.parametrize("right", [True, False])
def test_with_nothing_to_learn_from_the_classifier_decides(right: bool) -> None:
    model = fit_scorer_model(collect(), np.full(12, right), np.ones(12))
    np.testing.assert_allclose(model.score(collect().as_features()), collect().log_odds, atol=1e-6)


@pytest.mark.parametrize("has_probe", [True, False])
def test_models_survive_json_and_damage_is_refused(has_probe: bool) -> None:
    models = ScorerModels(
        LogisticModel(np.array([0.1, 2.0, -3.0, 1 / 3, 0.0, -0.1]), 0.7),
        LogisticModel(np.array([1.1, 0.0, 2.0, 1 / 7, 0.3, 0.1]), -0.7),
        LogisticModel(np.arange(8.0), 0.1) if has_probe else None,
    )
    described = models.as_coefficients()
    again = ScorerModels.from_coefficients(ScorerCoefficients.model_validate_json(described.model_dump_json()), 8)
    for name, model in vars(models).items():
        found = getattr(again, name)
        assert (found is None) == (model is None)
        if model is not None:
            np.testing.assert_array_equal(found.weights, model.weights)
            assert found.bias == model.bias
    short = described.model_copy(update={"answer": described.answer.model_copy(update={"weights": (1.0, 2.0)})})
    with pytest.raises(ValueError, match="expected 6 weights, received 2"):
        ScorerModels.from_coefficients(short, 8)
    fields = described.model_dump()
    for broken in (
        fields | {"answer": {"weights": [1, 2, 3, 4, 5, float("nan")], "bias": 0}},
        fields | {"answer": None},
    ):
        with pytest.raises(pydantic.ValidationError, match="answer"):
            ScorerCoefficients.model_validate(broken, strict=False)
    with pytest.raises(pydantic.ValidationError, match="probe"):
        ScorerCoefficients.model_validate({"landmark": fields["landmark"], "answer": fields["answer"]}, strict=False)


def test_a_certain_answer_has_finite_log_odds() -> None:
    certain = np.eye(PROBABILITIES.shape[1], dtype=np.float32)[[0] * len(QUERIES)]
    odds = collect_evidence(SimilarityIndex.from_embeddings(GALLERY), LABELS, None, certain, QUERIES).log_odds
    assert np.isfinite(odds).all()
    assert (odds > 5).all()


def test_an_empty_gallery_resembles_nothing() -> None:
    empty = SimilarityIndex.from_embeddings(GALLERY[:0])
    evidence = collect_evidence(empty, LABELS[:0], None, PROBABILITIES, QUERIES)
    assert not evidence.similarity.any()
    assert (evidence.nearest == -1).all()
