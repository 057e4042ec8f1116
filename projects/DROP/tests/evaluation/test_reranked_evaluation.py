"""The evaluator with DROP's distance: plain and re-ranked, the numbers are those of whole distance matrices."""

import pytest
import torch
from drop.meta_arch import DROP
from fastreid.config import get_cfg

from mdpr_fastreid.evaluation import Evaluator, rank_metrics, rerank_distances

QUERIES, IMAGES, K1, K2, LAMBDA = 12, 90, 9, 3, 0.4


@pytest.fixture
def outputs():
    """Images of 15 people, of whom a third of the parts is hidden, and one who shows nothing but the foreground."""
    rng = torch.Generator().manual_seed(0)
    people = torch.randn(15, 6, 8, generator=rng)
    embeddings = people[torch.arange(IMAGES) % 15] + torch.randn(IMAGES, 6, 8, generator=rng)
    visibility = (torch.rand(IMAGES, 6, generator=rng) > 0.33).float()
    visibility[:, 0], visibility[3, 1:] = 1, 0
    return {"embeddings": torch.nn.functional.normalize(embeddings, dim=2), "visibility": visibility}


@pytest.mark.parametrize("reranked", [False, True])
def test_the_evaluation_is_that_of_whole_distance_matrices(outputs, reranked):
    identities, cameras = torch.arange(IMAGES) % 15, torch.arange(IMAGES) // 15
    cfg = get_cfg()
    cfg.TEST.RERANK.ENABLED = reranked
    cfg.TEST.RERANK.K1, cfg.TEST.RERANK.K2, cfg.TEST.RERANK.LAMBDA = K1, K2, LAMBDA
    evaluator = Evaluator(cfg, QUERIES, distance=DROP.distance)
    for rows in torch.arange(IMAGES).split(32):
        batch = {"targets": identities[rows], "camids": cameras[rows]}
        evaluator.process(batch, {name: value[rows] for name, value in outputs.items()})
    found = evaluator.evaluate()

    query, gallery = ({name: value[part] for name, value in outputs.items()} for part in _split(QUERIES))
    distances = DROP.distance(query, gallery)
    if reranked:
        own = DROP.distance(query, query), DROP.distance(gallery, gallery)
        distances = rerank_distances(distances, *own, K1, K2, LAMBDA)
    labels = [values[part].numpy() for values in (identities, cameras) for part in _split(QUERIES)]
    expected = rank_metrics(distances.numpy(), *labels)
    assert found["mAP"] == pytest.approx(100 * expected.average_precision.mean(), abs=1e-6)
    assert found["Rank-1"] == pytest.approx(100 * expected.cmc[0], abs=1e-6)
    assert 5 < found["mAP"] < 99


def _split(queries):
    return slice(None, queries), slice(queries, None)
