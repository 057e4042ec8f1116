"""A map over its image is bright where the map is high."""

import numpy as np

from mdpr_fastreid.pictures.overlay import colours, overlay


def test_attention_is_bright_where_it_is_high():
    image = np.full((128, 64, 3), 100, dtype=np.uint8)
    attention = np.zeros((8, 4), dtype=np.uint8)
    attention[:4] = 200
    shown = overlay(image, attention).mean(axis=2)
    assert shown[:40].min() > shown[-40:].max() + 50
    assert overlay(image, np.full((8, 4), 7, dtype=np.uint8)).std() < 60


def test_a_map_of_shares_looks_as_the_same_map_in_bytes():
    image = np.random.default_rng(0).integers(0, 256, (32, 16, 3), dtype=np.uint8)
    attention = np.random.default_rng(1).integers(0, 256, (8, 4), dtype=np.uint8)
    shares = attention.astype(np.float32) / 255
    assert np.abs(overlay(image, attention).astype(int) - overlay(image, shares)).max() <= 3


def test_the_lightness_of_the_colours_only_grows():
    weights = np.array([0.2126, 0.7152, 0.0722])  # of red, green and blue in luminance (ITU-R BT.709)
    lightness = (colours(np.linspace(0, 1, 64)) / 255) ** 2.2 @ weights
    assert (np.diff(lightness) > 0).all()
