"""The landmark score: evidence against loops written out, and a score that follows it."""

import json
import math

import numpy as np
import pytest

from landmarks.logistic import LogisticModel
from landmarks.rejection import (
    Evidence,
    LandmarkScorer,
    collect_evidence,
    compute_distractor_similarity,
    describe_model,
    fit_scorer_model,
    read_model,
)
from landmarks.retrieval.index import SimilarityIndex


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


def test_a_photo_with_nothing_in_it_resembles_nothing() -> None:
    queries = QUERIES.copy()
    queries[4] = 0
    evidence = collect(queries)
    assert evidence.nearest[4] == -1
    assert evidence.similarity[4] == evidence.agreement[4] == evidence.distractor_similarity[4] == 0
    np.testing.assert_array_equal(np.delete(evidence.as_features(), 4, 0), np.delete(collect().as_features(), 4, 0))


def test_known_distractors_are_compared_with_other_categories_alone() -> None:
    categories = ["food"] * 10 + ["rooms"] * 14 + ["alone"]
    embeddings = DISTRACTORS.copy()
    embeddings[3] = 0
    found = compute_distractor_similarity(embeddings, categories)
    for row, category in enumerate(categories):
        others = [e for e, other in zip(embeddings, categories, strict=True) if other != category and e.any()]
        expected = mean_of_nearest(embeddings[row], np.array(others)) if embeddings[row].any() else 0
        assert found[row] == pytest.approx(expected, abs=1e-5)
    assert not compute_distractor_similarity(embeddings, ["food"] * 25).any()


def test_the_score_follows_the_weights_of_the_evidence() -> None:
    model = LogisticModel(np.array([0.5, 2.0, 1.0, -3.0]), -0.2)
    gallery = SimilarityIndex.from_embeddings(GALLERY)
    scorer = LandmarkScorer(gallery, LABELS, SimilarityIndex.from_embeddings(DISTRACTORS), model)
    evidence = scorer.collect(PROBABILITIES, QUERIES)
    for row, score in enumerate(scorer.score(evidence)):
        log_odds = evidence.as_features()[row] @ model.weights + model.bias
        assert score == pytest.approx(1 / (1 + math.exp(-log_odds)), rel=1e-5)


def test_the_fitted_score_ranks_right_answers_above_wrong_ones() -> None:
    random = np.random.default_rng(0)
    correct = np.arange(200) < 100
    odds, similarity, agreement, penalty = (
        random.normal(np.where(correct, high, 0), 1).astype(np.float32) for high in (2, 1, 1, -1)
    )
    evidence = Evidence(odds, similarity, agreement, penalty, np.zeros(200, np.int64))
    model = fit_scorer_model(evidence, correct)
    assert (np.sign(model.weights) == [1, 1, 1, -1]).all()
    scores = model.score(evidence.as_features())
    assert scores[correct].mean() > scores[~correct].mean() + 2


@pytest.mark.parametrize("right", [True, False])
def test_with_nothing_to_learn_from_the_classifier_decides(right: bool) -> None:
    model = fit_scorer_model(collect(), np.full(12, right))
    np.testing.assert_allclose(model.score(collect().as_features()), collect().log_odds, atol=1e-6)


def test_a_model_survives_json_and_damage_is_refused() -> None:
    model = LogisticModel(np.array([0.1, 2.0, -3.0, 1 / 3]), 0.7)
    again = read_model(json.loads(json.dumps(describe_model(model))))
    np.testing.assert_array_equal(again.weights, model.weights)
    assert again.bias == model.bias
    for weights in ([1, 2, 3], [1, 2, 3, float("nan")]):
        with pytest.raises(ValueError, match="four finite weights"):
            read_model({"weights": weights, "bias": 0})
