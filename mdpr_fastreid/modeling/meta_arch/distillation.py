"""MDPR where FastReID distils knowledge: as a teacher, and as the student, of its ``Distiller``."""

from collections.abc import Sequence

from fastreid.config import CfgNode
from fastreid.modeling.meta_arch import META_ARCH_REGISTRY, Distiller
from torch import nn

from mdpr_fastreid.config.reading import config_file, read_config
from mdpr_fastreid.errors import SettingsError, UsageError
from mdpr_fastreid.modeling.backbones import StageMaps
from mdpr_fastreid.modeling.meta_arch.mdpr import MDPR
from mdpr_fastreid.weights import load_for_evaluation


@META_ARCH_REGISTRY.register()
class DistillableMDPR(MDPR):
    """MDPR in the two calls that ``Distiller`` makes of a model: ``heads(backbone(images), targets)``.

    Between them the branches read the backbone's maps. Weights, their names, and all numbers are MDPR's. The class
    logits that are compared are those of the fused feature.
    """

    def __init__(self, *args, **kwargs) -> None:
        super().__init__(*args, **kwargs)
        self.heads.register_forward_pre_hook(self._read)

    def _read(self, heads: nn.Module, args: tuple) -> tuple | None:
        features, *targets = args
        return (self.perspectives(features), *targets) if isinstance(features, StageMaps) else None


@META_ARCH_REGISTRY.register()
class MDPRDistiller(Distiller, DistillableMDPR):
    """FastReID's ``Distiller`` with MDPR as its student; ``MODEL.META_ARCHITECTURE Distiller`` means it, too.

    Losses are MDPR's, and ``loss_jsdiv`` to the teachers of ``KD`` (Zhang et al., Deep Mutual Learning, CVPR 2018).
    """

    def simplify_for_inference(self) -> None:
        """As MDPR's; the teachers go, too."""
        super().simplify_for_inference()
        self.model_ts = []


def teachers_configs(cfg: CfgNode) -> list[str]:
    """The config files of ``KD.MODEL_CONFIG``, checked, those that come with the plugin by their paths.

    Args:
        cfg: of the student.

    Raises:
        UsageError: a file is missing or cannot be read, a key does not exist, or a value is wrong.
        SettingsError: there are more or fewer files of weights than of configs.
    """
    files, weights = list(cfg.KD.MODEL_CONFIG), list(cfg.KD.MODEL_WEIGHTS)
    if len(files) != len(weights):
        raise SettingsError(f"KD.MODEL_CONFIG names {len(files)} teachers, and KD.MODEL_WEIGHTS {len(weights)} files")
    for number, file in enumerate(files):
        if not file:
            raise SettingsError(f"KD.MODEL_CONFIG[{number}] is empty: name the config of that teacher")
        try:
            read_config(file, parts=("model",))
        except UsageError as error:
            raise UsageError(f"KD.MODEL_CONFIG[{number}]: {error}") from error
    return [config_file(file) for file in files]


def load_teachers(model: Distiller, files: Sequence[str]) -> None:
    """Load the teachers of ``KD.MODEL_CONFIG``, each whole: FastReID's loader takes of a file whatever fits.

    Args:
        model: as it was built; the teachers come behind its averaged one, if it has that.
        files: ``KD.MODEL_WEIGHTS``, one for each teacher.

    Raises:
        SettingsError: an entry is empty.
        UsageError: a file cannot be read, or does not fit its teacher, the classifier included.
    """
    teachers = model.model_ts[1:] if model.ema_enabled else model.model_ts
    for number, (teacher, file) in enumerate(zip(teachers, files, strict=True)):
        if not file:
            raise SettingsError(f"KD.MODEL_WEIGHTS[{number}] is empty: name the weight file of that teacher")
        try:
            load_for_evaluation(teacher, file, with_classifiers=True)
        except UsageError as error:
            raise UsageError(f"KD.MODEL_WEIGHTS[{number}]: {error}") from error
