"""Features as a trained model gives them: identities are clusters, and some lie close to others."""

import numpy as np


def clustered_features(count: int, width: int, per_identity: int = 12, noise: float = 0.5, seed: int = 0) -> np.ndarray:
    """Normalised features ``[count, width]`` float32 of ``count / per_identity`` random clusters."""
    rng = np.random.default_rng(seed)
    identities = rng.integers(0, max(1, count // per_identity), count)
    centres = rng.standard_normal((max(1, count // per_identity), width), dtype=np.float32)
    features = centres[identities] + noise * rng.standard_normal((count, width), dtype=np.float32)
    return features / np.linalg.norm(features, axis=1, keepdims=True)
