"""DROP: human parsing and re-identification from decoupled features (arXiv 2401.18032)."""
