"""Settings and what a model brings along are refused before any image is looked at."""

import pytest
from fastreid.config import CfgNode
from support.ranked_features import config

from mdpr_fastreid.errors import SettingsError
from mdpr_fastreid.evaluation import Evaluator, check_test_settings

_WRONG = [
    (("TEST.METRIC", "manhattan"), "TEST.METRIC must be cosine, euclidean or jaccard, got 'manhattan'"),
    (("TEST.AP", "mean"), "TEST.AP must be step, trapezoid or both, got 'mean'"),
    (("TEST.RERANK.K1", 0), "TEST.RERANK.K1 must be 1 or more, got 0"),
    (("TEST.RERANK.K2", -1), "TEST.RERANK.K2 must be 1 or more, got -1"),
    (("TEST.RERANK.LAMBDA", 1.5), "TEST.RERANK.LAMBDA must be between 0 and 1, got 1.5"),
    (("TEST.AQE.QE_K", 0), "TEST.AQE.QE_K must be 1 or more, got 0"),
    (("TEST.AQE.QE_TIME", -1), "TEST.AQE.QE_TIME must be 0 or more, got -1"),
    (("TEST.AQE.ALPHA", float("nan")), "TEST.AQE.ALPHA must be a finite number, got nan"),
]


@pytest.mark.parametrize(("options", "message"), _WRONG)
def test_a_setting_that_no_evaluation_can_have_is_named(options, message):
    cfg = config(*options)
    with pytest.raises(SettingsError, match=message):
        check_test_settings(cfg)
    with pytest.raises(SettingsError, match=message):
        Evaluator(cfg, 3)


def test_the_defaults_are_settings_that_an_evaluation_can_have():
    check_test_settings(config())


def test_a_config_without_the_plugins_keys_says_how_it_gets_them():
    cfg = config()
    cfg.TEST = CfgNode({key: value for key, value in cfg.TEST.items() if key != "AP"})
    with pytest.raises(SettingsError, match="no TEST.AP: mdpr_fastreid.add_mdpr_config"):
        check_test_settings(cfg)


@pytest.mark.parametrize("pairings", [{}, [("image", "clip")], {"I2V": "image"}, {"I2V": ("image",)}, {1: ("a", "b")}])
def test_pairings_of_another_shape_are_refused(pairings):
    with pytest.raises(SettingsError, match="pairings must be names of outputs by name"):
        Evaluator(config(), 3, pairings=pairings)


def test_a_distance_that_cannot_be_called_is_refused():
    with pytest.raises(SettingsError, match=r"must be a function \(query, gallery\) -> \[Q, G\], got 'cosine'"):
        Evaluator(config(), 3, distance="cosine")
