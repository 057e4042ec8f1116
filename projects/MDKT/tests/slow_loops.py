"""The losses and the mining written from the formulas, over pairs and triplets, in plain Python."""

import math


def squared(rows: list[list[float]], i: int, j: int) -> float:
    return sum((a - b) ** 2 for a, b in zip(rows[i], rows[j], strict=True))


def distance(rows: list[list[float]], i: int, j: int) -> float:
    return math.sqrt(squared(rows, i, j) + 1e-12)


def mined(rows: list[list[float]], targets: list[int]) -> list[tuple[int, int, int]]:
    """The hardest triplet of every anchor that has one."""
    triplets = []
    for anchor in range(len(rows)):
        positives = [i for i in range(len(rows)) if targets[i] == targets[anchor] and i != anchor]
        negatives = [i for i in range(len(rows)) if targets[i] != targets[anchor]]
        if positives and negatives:
            farthest = max(positives, key=lambda i: distance(rows, anchor, i))
            nearest = min(negatives, key=lambda i: distance(rows, anchor, i))
            triplets.append((anchor, farthest, nearest))
    return triplets


def probability(rows: list[list[float]], triplet: tuple[int, int, int], temperature: float) -> float:
    anchor, positive, negative = triplet
    near = math.exp(-distance(rows, anchor, positive) / temperature)
    return near / (near + math.exp(-distance(rows, anchor, negative) / temperature))


def divergence(p: list[float], q: list[float]) -> float:
    return sum(a * math.log(a / b) for a, b in zip(p, q, strict=True))


def contrast(source: list, learner: list, triplets: list[tuple[int, int, int]], temperature: float) -> float:
    """TCL from one network to the other, summed over the triplets."""
    total = 0.0
    for triplet in triplets:
        p, q = probability(source, triplet, temperature), probability(learner, triplet, temperature)
        total += divergence([p, 1 - p], [q, 1 - q])
    return total


def softmax(logits: list[float], temperature: float) -> list[float]:
    powers = [math.exp(value / temperature) for value in logits]
    return [power / sum(powers) for power in powers]


def logits_distillation(source: list, learner: list, temperature: float) -> float:
    """KD from one network to the other, mean over the batch."""
    rows = zip(source, learner, strict=True)
    each = [divergence(softmax(s, temperature), softmax(t, temperature)) * temperature**2 for s, t in rows]
    return sum(each) / len(each)


def pairwise(teacher: list, student: list, between=squared) -> float:
    """The sum over pairs i < j of the squared differences of distances."""
    pairs = [(i, j) for i in range(len(teacher)) for j in range(i + 1, len(teacher))]
    return sum((between(teacher, i, j) - between(student, i, j)) ** 2 for i, j in pairs)
