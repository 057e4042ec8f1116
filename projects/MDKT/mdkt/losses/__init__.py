"""One loss a file, called with what a teacher and a student give of the same samples; each is one number.

``MutualLogitsDistillation()(teacher, student)``, ``PairwiseDistanceLoss()(teacher, student)`` and
``TripletContrastLoss()(teacher, student, targets)`` need no config; without ``scale`` they are unweighted, and of two
directions the sum.
"""

from mdkt.losses.between_branches import ContrastBetweenBranches, LogitsBetweenBranches
from mdkt.losses.logits_distillation import MutualLogitsDistillation
from mdkt.losses.mining import Triplets, distances, hardest_triplets, squared_distances
from mdkt.losses.pairwise_distance import PairwiseDistanceLoss
from mdkt.losses.triplet_contrast import TripletContrastLoss, TripletProbabilities, bernoulli_divergence

__all__ = [
    "ContrastBetweenBranches",
    "LogitsBetweenBranches",
    "MutualLogitsDistillation",
    "PairwiseDistanceLoss",
    "TripletContrastLoss",
    "TripletProbabilities",
    "Triplets",
    "bernoulli_divergence",
    "distances",
    "hardest_triplets",
    "squared_distances",
]
