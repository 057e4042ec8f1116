"""Wrong settings are one line with the key and what it accepts; right ones pass."""

import shlex
from pathlib import Path

import pytest
import small_runs
from fastreid.config import CfgNode, get_cfg
from fastreid.engine import default_argument_parser
from fastreid.modeling.backbones import BACKBONE_REGISTRY
from fastreid.modeling.heads import REID_HEADS_REGISTRY, EmbeddingHead
from fastreid.modeling.meta_arch import META_ARCH_REGISTRY, Baseline
from support import settings

from mdpr_fastreid.config import check_config, config_from
from mdpr_fastreid.config.parts import DEPTHS, NORMS
from mdpr_fastreid.errors import SettingsError

ROOT = Path(__file__).parents[2]
CONFIGS = sorted((ROOT / "configs").rglob("*.yml"))


def config_of(words):
    """The config of a line of the tables: overrides, after the name of a configuration of ours or none."""
    words = shlex.split(words)
    config = words.pop(0) if words[0].endswith(".yml") else ""
    return config_from(default_argument_parser().parse_args(["--config-file", config, *words]))


DISTILLER = "MODEL.META_ARCHITECTURE Distiller"
REWEIGHT = "DATALOADER.SAMPLER_TRAIN SetReWeightSampler DATALOADER.NUM_INSTANCE 4 SOLVER.IMS_PER_BATCH 32"

WRONG = {
    # The run
    "SEED -2": "SEED must be a whole number of -1 or more, got -2",
    "SEED None": "SEED must be a whole number of -1 or more, got None",
    "OUTPUT_DIR ''": "OUTPUT_DIR must be the path of a folder, got ''",
    "OUTPUT_DIR None": "OUTPUT_DIR must be the path of a folder, got None",
    r"""OUTPUT_DIR '"a\0b"'""": r"OUTPUT_DIR must be the path of a folder, got 'a\x00b'",
    "CUDNN_BENCHMARK None": "CUDNN_BENCHMARK must be True or False, got None",
    # The model
    "MODEL.DEVICE quantum": "MODEL.DEVICE 'quantum' is no device: cpu, cuda, or cuda:0 and so on",
    "MODEL.DEVICE ''": "MODEL.DEVICE '' is no device",
    "MODEL.DEVICE cuda:x": "MODEL.DEVICE 'cuda:x' is no device",
    "MODEL.DEVICE None": "MODEL.DEVICE must be text, got None",
    "MODEL.META_ARCHITECTURE Baselin": "nothing is registered as 'Baselin' in META_ARCH; did you mean Baseline?",
    "MODEL.META_ARCHITECTURE mdpr": "MODEL.META_ARCHITECTURE: nothing is registered as 'mdpr' in META_ARCH; known:",
    "MODEL.FREEZE_LAYERS \"['backbone(']\"": "MODEL.FREEZE_LAYERS must be a list, each a regular expression",
    "MODEL.FREEZE_LAYERS [3]": "MODEL.FREEZE_LAYERS must be a list, each a regular expression, got [3]",
    "MODEL.PIXEL_MEAN [0.5]": "MODEL.PIXEL_MEAN must be a list of 3 values, each a number, got [0.5]",
    "MODEL.PIXEL_MEAN \"['a','b','c']\"": "MODEL.PIXEL_MEAN must be a list of 3 values",
    "MODEL.PIXEL_MEAN [1,2,3,4]": "MODEL.PIXEL_MEAN must be a list of 3 values",
    "MODEL.PIXEL_STD [1.0,0.0,1.0]": "MODEL.PIXEL_STD must be a list of 3 values, each a number greater than 0",
    "MODEL.PIXEL_STD [58.4]": "MODEL.PIXEL_STD must be a list of 3 values",
    "MODEL.META_ARCHITECTURE MoCo MODEL.QUEUE_SIZE 0": "MODEL.QUEUE_SIZE must be a whole number from 1 to 16777216",
    "MODEL.META_ARCHITECTURE MoCo MODEL.QUEUE_SIZE 100": "QUEUE_SIZE 100 must be a multiple of SOLVER.IMS_PER_BATCH 64",
    "MODEL.WEIGHTS_SHA256 123xyz": "MODEL.WEIGHTS_SHA256 must be \"\", or 8 to 64 hexadecimal digits",
    "MODEL.WEIGHTS_SHA256 abc": "MODEL.WEIGHTS_SHA256 must be \"\", or 8 to 64 hexadecimal digits",
    "MODEL.BACKBONE.PRETRAIN_SHA256 nothing": "MODEL.BACKBONE.PRETRAIN_SHA256 must be \"\", or 8 to 64 hexadecimal",
    "MODEL.COMPILE None": "MODEL.COMPILE must be True or False",
    # The backbone
    "MODEL.BACKBONE.NAME build_resnet_backbon": "in BACKBONE; did you mean build_resnet_backbone?",
    "MODEL.BACKBONE.NAME resnet50": "MODEL.BACKBONE.NAME: nothing is registered as 'resnet50' in BACKBONE",
    "MODEL.BACKBONE.NAME build_timm_backbone MODEL.BACKBONE.TIMM.SEMANTIC_WEIGHT 7.0": "a number from -1 to 1, got 7",
    "MODEL.BACKBONE.TIMM.CAMERAS 6": "CAMERAS 6: build_resnet_backbone has no embeddings of cameras",
    "MODEL.BACKBONE.DEPTH 51x": "DEPTH '51x' is none of build_resnet_backbone, which has 18x, 34x, 50x, 101x",
    "MODEL.BACKBONE.NAME build_resnext_backbone MODEL.BACKBONE.DEPTH 152x":
        "build_resnext_backbone, which has 50x, 101x",
    "MODEL.BACKBONE.NAME build_osnet_backbone": "'50x' is none of build_osnet_backbone, which has x1_0",
    "MODEL.BACKBONE.NAME build_vit_backbone": "'50x' is none of build_vit_backbone, which has small, base",
    "MODEL.BACKBONE.NAME build_shufflenetv2_backbone": "'50x' is none of build_shufflenetv2_backbone, which has 0.5x",
    "MODEL.BACKBONE.NAME build_mobilenetv3_backbone MODEL.BACKBONE.DEPTH large": "which has Large, Small",
    "MODEL.BACKBONE.NORM SyncBN":
        "MODEL.BACKBONE.NORM 'SyncBN' is none of FastReID's norm layers; did you mean syncBN?",
    "MODEL.BACKBONE.NORM ''": "MODEL.BACKBONE.NORM '' is none of FastReID's norm layers; known: BN, FrozenBN, GN",
    "MODEL.BACKBONE.LAST_STRIDE 0": "MODEL.BACKBONE.LAST_STRIDE must be a whole number of 1 or more, got 0",
    "MODEL.BACKBONE.FEAT_DIM 0": "MODEL.BACKBONE.FEAT_DIM must be a whole number from 1 to 65536, got 0",
    "MODEL.BACKBONE.WITH_IBN None": "MODEL.BACKBONE.WITH_IBN must be True or False, got None",
    "MODEL.BACKBONE.DROP_RATIO 1.5": "MODEL.BACKBONE.DROP_RATIO must be a number from 0 to 1, got 1.5",
    "MODEL.BACKBONE.NAME build_vit_backbone MODEL.BACKBONE.DEPTH base MODEL.BACKBONE.STRIDE_SIZE (0,16)":
        "MODEL.BACKBONE.STRIDE_SIZE must be a list of 2 values",
    "MODEL.BACKBONE.NAME build_timm_backbone MODEL.BACKBONE.STRIDE_SIZE [12]":
        "MODEL.BACKBONE.STRIDE_SIZE must be a list of 2 values",
    "MODEL.BACKBONE.NAME build_vit_backbone MODEL.BACKBONE.DEPTH base MODEL.BACKBONE.DROP_PATH_RATIO -0.1":
        "MODEL.BACKBONE.DROP_PATH_RATIO must be a number from 0 to 1, got -0.1",
    # The head
    "MODEL.HEADS.NAME EmbedingHead": "MODEL.HEADS.NAME: nothing is registered as 'EmbedingHead' in REID_HEADS; did you",
    "MODEL.HEADS.POOL_LAYER GlobalAveragePool": "'GlobalAveragePool' is none of fastreid.layers.pooling; did you mean",
    "MODEL.HEADS.CLS_LAYER Arcface": "MODEL.HEADS.CLS_LAYER 'Arcface' is none of FastReID's classifiers; ",
    "MODEL.HEADS.CLS_LAYER CircleSoftMax": "is none of FastReID's classifiers; did you mean CircleSoftmax?",
    "MODEL.HEADS.NECK_FEAT behind": "MODEL.HEADS.NECK_FEAT 'behind' is neither \"before\" nor \"after\"",
    "MODEL.HEADS.NORM bn MODEL.HEADS.WITH_BNNECK True": "MODEL.HEADS.NORM 'bn' is none of FastReID's norm layers",
    "MODEL.HEADS.NUM_CLASSES -1": "MODEL.HEADS.NUM_CLASSES must be a whole number from 0 to 16777216, got -1",
    "MODEL.HEADS.EMBEDDING_DIM -1": "MODEL.HEADS.EMBEDDING_DIM must be a whole number from 0 to 65536, got -1",
    "MODEL.HEADS.EMBEDDING_DIM 1000000000": "MODEL.HEADS.EMBEDDING_DIM must be a whole number from 0 to 65536",
    "MODEL.HEADS.SCALE 0": "MODEL.HEADS.SCALE must be a number greater than 0, got 0",
    "MODEL.HEADS.MARGIN 1e999": "MODEL.HEADS.MARGIN must be a number, got inf",
    # The losses
    "MODEL.LOSSES.NAME \"('CrossEntropyLoss','TripletLos')\"":
        "MODEL.LOSSES.NAME: Baseline has no TripletLos; it has CrossEntropyLoss, TripletLoss",
    "MODEL.LOSSES.NAME \"('FocalLoss',)\"": "MODEL.LOSSES.NAME: Baseline has no FocalLoss",
    "MODEL.LOSSES.NAME ()": "MODEL.LOSSES.NAME names no loss; Baseline has CrossEntropyLoss",
    "MODEL.LOSSES.NAME (1,)": "MODEL.LOSSES.NAME must be a list, each text, got (1,)",
    "MODEL.META_ARCHITECTURE MGN MODEL.LOSSES.NAME \"('CircleLoss',)\"": "MODEL.LOSSES.NAME: MGN has no CircleLoss",
    f"{DISTILLER} KD.EMA.ENABLED True MODEL.LOSSES.NAME \"('KD',)\"": "MODEL.LOSSES.NAME: Distiller has no KD",
    "MODEL.META_ARCHITECTURE MoCo MODEL.LOSSES.NAME \"('Moco',)\"": "MODEL.LOSSES.NAME: MoCo has no Moco",
    "MODEL.LOSSES.CE.EPSILON 1.5": "MODEL.LOSSES.CE.EPSILON must be a number from -1 to 1, got 1.5",
    "MODEL.LOSSES.CE.SCALE -1.0": "MODEL.LOSSES.CE.SCALE must be a number of 0 or more, got -1.0",
    "MDPR/duke_r50.yml MODEL.LOSSES.TRI.MARGIN -0.3": "MODEL.LOSSES.TRI.MARGIN must be a number of 0 or more, got -0.3",
    "MDPR/duke_r50.yml MODEL.LOSSES.TRI.HARD_MINING None": "MODEL.LOSSES.TRI.HARD_MINING must be True or False",
    "MODEL.LOSSES.NAME \"('CircleLoss',)\" MODEL.LOSSES.CIRCLE.GAMMA 0": "MODEL.LOSSES.CIRCLE.GAMMA must be a number",
    "MODEL.LOSSES.NAME \"('Cosface',)\" MODEL.LOSSES.COSFACE.SCALE -1.0": "MODEL.LOSSES.COSFACE.SCALE must be a number",
    # MDPR
    "MODEL.META_ARCHITECTURE MDPR": "MDPR needs a head .* MODEL.HEADS.NAME is EmbeddingHead: set it to MDPRHead",
    "MODEL.HEADS.NAME MDPRHead": "MODEL.HEADS.NAME MDPRHead takes the maps of MDPR, and .* is Baseline: set it to MDPR",
    "MODEL.META_ARCHITECTURE MGN MODEL.BACKBONE.NAME build_timm_backbone": "MGN cuts FastReID's own ResNet",
    "MODEL.META_ARCHITECTURE MGN MODEL.HEADS.NAME MDPRHead": "MDPRHead takes the maps of MDPR, and .* is MGN",
    "MDPR/duke_r50.yml MODEL.HEADS.NAME EmbeddingHead": "MODEL.HEADS.NAME is EmbeddingHead: set it to MDPRHead",
    "MDPR/duke_r50.yml MODEL.HEADS.NAME ClasHead": "MODEL.HEADS.NAME is ClasHead: set it to MDPRHead",
    "MDPR/duke_r50.yml MODEL.META_ARCHITECTURE Baseline": "MDPRHead takes the maps of MDPR",
    "MDPR/duke_r50.yml MODEL.LOSSES.NAME \"('TripetLoss',)\"":
        "MODEL.LOSSES.NAME: nothing is registered as 'TripetLoss' in LOSS; did you mean TripletLoss?",
    "MDPR/duke_r50.yml MODEL.MDPR.EMBEDDING_DIM 0": "MODEL.MDPR.EMBEDDING_DIM must be a whole number from 1 to 65536",
    "MDPR/duke_r50.yml MODEL.MDPR.EMBEDDING_DIM -1": "MODEL.MDPR.EMBEDDING_DIM must be a whole number from 1 to 65536",
    "MDPR/duke_r50.yml MODEL.MDPR.EMBEDDING_DIM 1000000000": "MODEL.MDPR.EMBEDDING_DIM must be a whole number from 1",
    "MDPR/duke_r50.yml MODEL.MDPR.ATTENTION.MAPS 100000000": "MODEL.MDPR.ATTENTION.MAPS must be a whole number from 1",
    "MDPR/duke_r50.yml MODEL.MDPR.ATTENTION.MAPS 0": "MODEL.MDPR.ATTENTION.MAPS must be a whole number from 1 to 1024",
    "MDPR/duke_r50.yml MODEL.MDPR.PARTS 0": "MODEL.MDPR.PARTS must be a whole number from 1 to 1024, got 0",
    "MDPR/duke_r50.yml MODEL.MDPR.BRANCHES ()": "MODEL.MDPR.BRANCHES must be a list of 1 or more values, each text",
    "MDPR/duke_r50.yml MODEL.MDPR.BRANCHES \"('hard','harder')\"": "MODEL.MDPR.BRANCHES must name each of",
    "MDPR/duke_r50.yml MODEL.MDPR.BRANCHES \"('hard',)\"": "MODEL.MDPR.DISTILL.ENABLED needs both branches",
    "MDPR/duke_r50.yml MODEL.MDPR.FUSION.ENABLED False": "asks for 'fusion', but MODEL.MDPR.FUSION.ENABLED is False",
    "MDPR/duke_r50.yml MODEL.MDPR.INFERENCE_FEATURES \"('soft5',)\"": "INFERENCE_FEATURES: 'soft5' is not one of",
    "MDPR/duke_r50.yml MODEL.MDPR.INFERENCE_FEATURES ()": "MODEL.MDPR.INFERENCE_FEATURES must be a list of 1 or more",
    "MDPR/duke_r50.yml MODEL.MDPR.CHECKPOINT_STAGES (2,)":
        "MODEL.MDPR.CHECKPOINT_STAGES must be a list of some of 3, 4",
    "MDPR/duke_r50.yml MODEL.MDPR.DISTILL.SCALE -1.0": "MODEL.MDPR.DISTILL.SCALE must be a number of 0 or more",
    "MDPR/duke_r50.yml MODEL.MDPR.ATTENTION.AREA_SCALE -0.1": "MODEL.MDPR.ATTENTION.AREA_SCALE must be a number of 0",
    # Distillation
    DISTILLER: "Distiller needs a teacher: name it in KD.MODEL_CONFIG, or set KD.EMA.ENABLED",
    f"{DISTILLER} KD.MODEL_CONFIG \"['a.yml']\"": "KD.MODEL_CONFIG names 1 teachers, and KD.MODEL_WEIGHTS 0 files",
    f"{DISTILLER} KD.MODEL_CONFIG \"['a.yml']\" KD.MODEL_WEIGHTS \"['']\"": "KD.MODEL_WEIGHTS has an empty entry",
    f"{DISTILLER} KD.EMA.ENABLED True KD.EMA.MOMENTUM 1.1": "KD.EMA.MOMENTUM must be a number from 0 to 1, got 1.1",
    # The images
    "INPUT.SIZE_TRAIN [-1,128]": r"INPUT.SIZE_TRAIN must be a list: \[height, width\] of 1 or more, .* got \[-1, 128\]",
    "INPUT.SIZE_TRAIN [256,0]": r"INPUT.SIZE_TRAIN must be a list: .* got \[256, 0\]",
    "INPUT.SIZE_TRAIN [256,128,3]": "INPUT.SIZE_TRAIN must be a list",
    "INPUT.SIZE_TRAIN \"['256','128']\"": "INPUT.SIZE_TRAIN must be a list",
    "INPUT.SIZE_TEST []": r"INPUT.SIZE_TEST must be a list: .* got \[\]",
    "INPUT.SIZE_TEST [256.0,128.0]": "INPUT.SIZE_TEST must be a list",
    "INPUT.CROP.ENABLED True INPUT.CROP.SIZE [0]":
        "INPUT.CROP.SIZE must be a list of 1 or 2 values, each a whole number",
    "INPUT.CROP.ENABLED True INPUT.CROP.SCALE [1.0,0.2]": "INPUT.CROP.SCALE must be a list of 2 values, .* the smaller",
    "INPUT.CROP.ENABLED True INPUT.CROP.RATIO [0.75]": "INPUT.CROP.RATIO must be a list of 2 values",
    "INPUT.FLIP.ENABLED True INPUT.FLIP.PROB 1.5": "INPUT.FLIP.PROB must be a number from 0 to 1, got 1.5",
    "INPUT.PADDING.ENABLED True INPUT.PADDING.SIZE -1": "INPUT.PADDING.SIZE must be a whole number of 0 or more",
    "INPUT.PADDING.ENABLED True INPUT.PADDING.MODE reflekt": "INPUT.PADDING.MODE must be .*; did you mean reflect?",
    "INPUT.CJ.ENABLED True INPUT.CJ.HUE 0.6": "INPUT.CJ.HUE must be a number from 0 to 0.5, got 0.6",
    "INPUT.CJ.ENABLED True INPUT.CJ.BRIGHTNESS -0.1": "INPUT.CJ.BRIGHTNESS must be a number of 0 or more, got -0.1",
    "INPUT.AUTOAUG.ENABLED True INPUT.AUTOAUG.PROB 2.0": "INPUT.AUTOAUG.PROB must be a number from 0 to 1, got 2.0",
    "INPUT.AUGMIX.ENABLED True INPUT.AUGMIX.PROB -1.0": "INPUT.AUGMIX.PROB must be a number from 0 to 1, got -1.0",
    "INPUT.REA.ENABLED True INPUT.REA.PROB -1.0": "INPUT.REA.PROB must be a number from 0 to 1, got -1.0",
    "INPUT.REA.ENABLED True INPUT.REA.VALUE [1.0,2.0]":
        "INPUT.REA.VALUE must be a list of 1 or 3 values, each a number",
    "INPUT.RPT.ENABLED True INPUT.RPT.PROB 7.0": "INPUT.RPT.PROB must be a number from 0 to 1, got 7.0",
    # The data
    "DATASETS.NAMES \"('Market1510',)\"":
        "DATASETS.NAMES: nothing is registered as 'Market1510' in DATASET; did you mean",
    "DATASETS.NAMES ()":
        "DATASETS.NAMES must be a list of 1 or more values, each a name registered in DATASET_REGISTRY",
    "DATASETS.NAMES \"('Market1501','DukeMTMC','Market1501')\"": "DATASETS.NAMES names Market1501 twice",
    "DATASETS.TESTS \"('Market1501','Market1501')\"": "DATASETS.TESTS names Market1501 twice",
    "DATASETS.TESTS ()":
        "DATASETS.TESTS must be a list of 1 or more values, each a name registered in DATASET_REGISTRY",
    "DATASETS.TESTS \"('Market1501','Duke')\"": "DATASETS.TESTS: nothing is registered as 'Duke' in DATASET",
    "DATASETS.TESTS \"('shops',)\" DATASETS.CUSTOM \"(('shop','/data/shop'),)\"":
        "'shops' in DATASET; did you mean shop?",
    "DATASETS.CUSTOM \"('shop','/data/shop')\"": "DATASETS.CUSTOM must be a tuple of pairs (name, folder)",
    "DATASETS.CUSTOM \"(('shop','a','b'),)\"": "DATASETS.CUSTOM must be a tuple of pairs (name, folder)",
    "DATASETS.CUSTOM \"(('','/data'),)\"": "DATASETS.CUSTOM must be a tuple of pairs (name, folder)",
    "DATASETS.CUSTOM_CAMERA_PATTERN 'cam('":
        "DATASETS.CUSTOM_CAMERA_PATTERN must be .* regular expression with one group",
    r"DATASETS.CUSTOM_CAMERA_PATTERN 'cam\\d'": "CUSTOM_CAMERA_PATTERN must be .* with one group, the camera",
    "DATALOADER.SAMPLER_TRAIN TrainSampler": "in SAMPLER; did you mean TrainingSampler?",
    "DATALOADER.SAMPLER_TRAIN Random": "DATALOADER.SAMPLER_TRAIN: nothing is registered as 'Random' in SAMPLER; known:",
    "DATALOADER.NUM_INSTANCE 0": "DATALOADER.NUM_INSTANCE must be a whole number of 1 or more, got 0",
    "DATALOADER.NUM_INSTANCE -4": "DATALOADER.NUM_INSTANCE must be a whole number of 1 or more, got -4",
    "DATALOADER.NUM_WORKERS -1": "DATALOADER.NUM_WORKERS must be a whole number from 0 to 1024, got -1",
    "DATALOADER.SKIP_DAMAGED None": "DATALOADER.SKIP_DAMAGED must be True or False",
    "DATALOADER.SAMPLER_TRAIN NaiveIdentitySampler SOLVER.IMS_PER_BATCH 30":
        "a batch of 30 images a process (SOLVER.IMS_PER_BATCH) is no multiple of DATALOADER.NUM_INSTANCE 4",
    f"{REWEIGHT} DATALOADER.SET_WEIGHT [0]": r"DATALOADER.SET_WEIGHT \[0\] draws",
    f"{REWEIGHT} DATALOADER.SET_WEIGHT [8]":
        r"batch of 32 .* no multiple, twice or more, of the 32 that .* \[8\] draws",
    f"{REWEIGHT} DATALOADER.SET_WEIGHT [-1,2]":
        "DATALOADER.SET_WEIGHT must be a list, each a whole number of 0 or more",
    # Training
    "SOLVER.ACCUMULATE 0": "SOLVER.ACCUMULATE must be a whole number from 1 to 4096, got 0",
    "SOLVER.ACCUMULATE 33": "SOLVER.ACCUMULATE 33: a batch of 64 images a process .* gives at most 32 parts",
    f"{DISTILLER} KD.EMA.ENABLED True SOLVER.ACCUMULATE 2": "SOLVER.ACCUMULATE 2 with KD.EMA.ENABLED: the moving",
    "SOLVER.GATHER None": "SOLVER.GATHER must be True or False, got None",
    "SOLVER.OPT Adm": "SOLVER.OPT: nothing is registered as 'Adm' in torch.optim; did you mean Adam?",
    "SOLVER.OPT LBFGS": "SOLVER.OPT: nothing is registered as 'LBFGS' in torch.optim",
    "SOLVER.OPT lr_scheduler": "SOLVER.OPT: nothing is registered as 'lr_scheduler' in torch.optim",
    "SOLVER.SCHED StepLR": "SOLVER.SCHED must be \"MultiStepLR\" or \"CosineAnnealingLR\", got 'StepLR'; did you mean",
    "SOLVER.MAX_EPOCH 0": "SOLVER.MAX_EPOCH must be a whole number of 1 or more, got 0",
    "SOLVER.BASE_LR -0.1": "SOLVER.BASE_LR must be a number greater than 0, got -0.1",
    "SOLVER.BASE_LR 0.0": "SOLVER.BASE_LR must be a number greater than 0, got 0.0",
    "SOLVER.BASE_LR 1e999": "SOLVER.BASE_LR must be a number greater than 0, got inf",
    "SOLVER.HEADS_LR_FACTOR -1.0": "SOLVER.HEADS_LR_FACTOR must be a number of 0 or more, got -1.0",
    "SOLVER.BIAS_LR_FACTOR -1.0": "SOLVER.BIAS_LR_FACTOR must be a number of 0 or more, got -1.0",
    "SOLVER.WEIGHT_DECAY -0.1": "SOLVER.WEIGHT_DECAY must be a number of 0 or more, got -0.1",
    "SOLVER.OPT SGD SOLVER.MOMENTUM -0.9": "SOLVER.MOMENTUM must be a number of 0 or more, got -0.9",
    "SOLVER.OPT SGD SOLVER.MOMENTUM 0.0 SOLVER.NESTEROV True": "SOLVER.NESTEROV needs SOLVER.MOMENTUM greater than 0",
    "SOLVER.STEPS \"['30']\"": "SOLVER.STEPS must be a list, each a whole number of 0 or more, got ['30']",
    "SOLVER.GAMMA 0.0": "SOLVER.GAMMA must be a number greater than 0, got 0.0",
    "SOLVER.SCHED CosineAnnealingLR SOLVER.ETA_MIN_LR -1e-7": "SOLVER.ETA_MIN_LR must be a number of 0 or more",
    "SOLVER.WARMUP_METHOD quadratic":
        "SOLVER.WARMUP_METHOD must be \"constant\", \"linear\" or \"exp\", got 'quadratic'",
    "SOLVER.WARMUP_ITERS -1": "SOLVER.WARMUP_ITERS must be a whole number of 0 or more, got -1",
    "SOLVER.WARMUP_FACTOR -0.1": "SOLVER.WARMUP_FACTOR must be a number of 0 or more, got -0.1",
    "SOLVER.DELAY_EPOCHS -1": "SOLVER.DELAY_EPOCHS must be a whole number of 0 or more, got -1",
    "SOLVER.FREEZE_ITERS -1": "SOLVER.FREEZE_ITERS must be a whole number of 0 or more, got -1",
    "SOLVER.CHECKPOINT_PERIOD -1": "SOLVER.CHECKPOINT_PERIOD must be a whole number of 0 or more, got -1",
    "SOLVER.IMS_PER_BATCH 1": "SOLVER.IMS_PER_BATCH must be a whole number of 2 or more, got 1",
    "SOLVER.IMS_PER_BATCH -64": "SOLVER.IMS_PER_BATCH must be a whole number of 2 or more, got -64",
    "SOLVER.AMP.ENABLED True SOLVER.AMP.DTYPE half": "SOLVER.AMP.DTYPE must be \"float16\" or \"bfloat16\", got 'half'",
    "SOLVER.CLIP_GRADIENTS.ENABLED True SOLVER.CLIP_GRADIENTS.CLIP_TYPE norms": "; did you mean norm?",
    "SOLVER.CLIP_GRADIENTS.ENABLED True SOLVER.CLIP_GRADIENTS.CLIP_VALUE -5.0": "CLIP_VALUE must be a number greater",
    "SOLVER.CLIP_GRADIENTS.ENABLED True SOLVER.CLIP_GRADIENTS.NORM_TYPE 0.0": "NORM_TYPE must be a number greater",
    # Evaluation
    "TEST.METRIC cosin": "TEST.METRIC: nothing is registered as 'cosin' in DISTANCE; did you mean cosine?",
    "TEST.METRIC manhattan": "TEST.METRIC: nothing is registered as 'manhattan' in DISTANCE; known: cosine, euclidean",
    "TEST.AMP int8": "TEST.AMP must be .*\"bfloat16\" or \"float16\", got 'int8'",
    "TEST.IMS_PER_BATCH 0": "TEST.IMS_PER_BATCH must be a whole number of 1 or more, got 0",
    "TEST.EVAL_PERIOD -2": "TEST.EVAL_PERIOD must be a whole number of -1 or more, got -2",
    "TEST.FOLDED None": "TEST.FOLDED must be True or False, got None",
    "TEST.FLIP.ENABLED None": "TEST.FLIP.ENABLED must be True or False, got None",
    "TEST.AQE.ENABLED True TEST.AQE.QE_K 0": "TEST.AQE.QE_K must be a whole number of 1 or more, got 0",
    "TEST.AQE.QE_TIME -1": "TEST.AQE.QE_TIME must be a whole number of 0 or more, got -1",
    "TEST.AQE.ENABLED True TEST.AQE.ALPHA 1e999": "TEST.AQE.ALPHA must be a number, got inf",
    "TEST.RERANK.ENABLED True TEST.RERANK.K1 0": "TEST.RERANK.K1 must be a whole number of 1 or more, got 0",
    "TEST.METRIC jaccard TEST.RERANK.K2 0": "TEST.RERANK.K2 must be a whole number of 1 or more, got 0",
    "TEST.RERANK.ENABLED True TEST.RERANK.LAMBDA 1.5": "TEST.RERANK.LAMBDA must be a number from 0 to 1, got 1.5",
    "TEST.PRECISE_BN.ENABLED True TEST.PRECISE_BN.NUM_ITER 0": "TEST.PRECISE_BN.NUM_ITER must be a whole number of 1",
    "TEST.PRECISE_BN.ENABLED True TEST.PRECISE_BN.DATASET Markt": "TEST.PRECISE_BN.DATASET: nothing is registered",
}  # fmt: skip


def has(line, words):
    """Whether a line contains words, in which ``.*`` stands for any others."""
    position = 0
    for part in words.replace(r"\[", "[").replace(r"\]", "]").split(".*"):
        position = line.find(part.strip(), position)
        if position < 0:
            return False
        position += len(part.strip())
    return True


@pytest.mark.parametrize("words", WRONG)
def test_one_line_says_what_is_wrong_with(words):
    with pytest.raises(SettingsError) as caught:
        config_of(words)
    line = str(caught.value)
    assert has(line, WRONG[words]), line
    assert "\n" not in line
    assert len(line) < 2000


def test_the_table_of_wrong_settings_is_long():
    assert len(WRONG) >= 120


RIGHT = [
    "SEED 0 OUTPUT_DIR logs/mine MODEL.WEIGHTS None MODEL.BACKBONE.PRETRAIN_PATH None",
    "MODEL.DEVICE meta",
    "MODEL.DEVICE cuda:7",
    "MODEL.META_ARCHITECTURE MoCo MODEL.QUEUE_SIZE 128 MODEL.LOSSES.NAME ()",
    "MODEL.WEIGHTS_SHA256 sha256:12345678 MODEL.BACKBONE.PRETRAIN_SHA256 ABCDEF0123",
    "MODEL.HEADS.NAME ClasHead MODEL.BACKBONE.NAME build_shufflenetv2_backbone MODEL.BACKBONE.DEPTH 0.5x",
    "MODEL.BACKBONE.NAME build_vit_backbone MODEL.BACKBONE.DEPTH base MODEL.BACKBONE.NORM ''",
    "MODEL.LOSSES.CE.EPSILON -1.0 MODEL.HEADS.POOL_LAYER Identity MODEL.HEADS.CLS_LAYER ArcSoftmax",
    "MODEL.HEADS.NORM '' MODEL.HEADS.WITH_BNNECK False",
    f"{DISTILLER} KD.EMA.ENABLED True MODEL.HEADS.NAME MDPRHead",
    "INPUT.SIZE_TRAIN [0] INPUT.SIZE_TEST [256] INPUT.CROP.ENABLED True INPUT.CROP.SIZE [224]",
    "INPUT.SIZE_TRAIN [0,0] INPUT.REA.ENABLED True INPUT.REA.VALUE [0]",
    "INPUT.FLIP.PROB 5.0 INPUT.REA.PROB -1.0 SOLVER.AMP.DTYPE half SOLVER.CLIP_GRADIENTS.CLIP_VALUE -1.0",  # all off
    "MODEL.MDPR.PARTS 0 MODEL.MDPR.BRANCHES ()",  # no MDPR
    "SOLVER.ETA_MIN_LR -1.0 SOLVER.MOMENTUM -1.0 DATALOADER.SET_WEIGHT [-1]",  # of another schedule, optimizer, sampler
    "DATASETS.NAMES \"('shop',)\" DATASETS.TESTS \"('shop',)\" DATASETS.CUSTOM \"(('shop','/data/shop'),)\"",
    r"DATASETS.CUSTOM_CAMERA_PATTERN 'cam(\\d+)'",
    f"{REWEIGHT} DATALOADER.SET_WEIGHT [2,2]",
    "SOLVER.SCHED CosineAnnealingLR SOLVER.DELAY_EPOCHS 120",  # a short run that is over before the cosine begins
    "SOLVER.OPT Lamb SOLVER.SCHED CosineAnnealingLR SOLVER.STEPS [] SOLVER.FREEZE_ITERS 0",
    "SOLVER.CLIP_GRADIENTS.ENABLED True SOLVER.CLIP_GRADIENTS.NORM_TYPE 1e999",
    "Baselines/sbs_market1501_r50.yml SOLVER.MAX_EPOCH 1",  # a delay of 30 epochs
    "SOLVER.CHECKPOINT_PERIOD 0",
    "SOLVER.GATHER True MODEL.META_ARCHITECTURE MoCo SOLVER.ACCUMULATE 32",  # one process gathers nothing
    "TEST.EVAL_PERIOD -1 TEST.AMP float32 TEST.AQE.QE_TIME 0 TEST.RERANK.LAMBDA 1.0 TEST.METRIC jaccard",
    "MDPR/duke_r50.yml MODEL.MDPR.CHECKPOINT_STAGES (3,4) MODEL.LOSSES.NAME ()",
]


@pytest.mark.parametrize("words", RIGHT)
def test_what_can_be_run_passes(words):
    assert config_of(words).is_frozen()


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: str(path.relative_to(ROOT / "configs")))
def test_every_configuration_of_ours_passes(path):
    assert config_of(shlex.quote(str(path))).is_frozen()


def test_the_configs_of_the_tests_pass(tmp_path):
    check_config(small_runs.small_config(tmp_path))
    check_config(settings.small_config())
    for overrides in settings.SINGLE_BRANCH.values():
        check_config(settings.small_config(*overrides))


def test_every_backbone_depth_and_norm_of_the_lists_passes():
    cfg = get_cfg()
    for name, depths in DEPTHS.items():
        for depth in depths:
            cfg.merge_from_list(["MODEL.BACKBONE.NAME", name, "MODEL.BACKBONE.DEPTH", depth])
            check_config(cfg)
    for norm in NORMS:
        cfg.merge_from_list(["MODEL.BACKBONE.NORM", norm, "MODEL.HEADS.NORM", norm])
        check_config(cfg)


def test_all_mistakes_are_in_the_line():
    with pytest.raises(SettingsError, match=r"SOLVER\.BASE_LR must be .*; TEST\.IMS_PER_BATCH must be .*, got 0$"):
        config_of("TEST.IMS_PER_BATCH 0 SOLVER.BASE_LR -1.0")


def test_a_config_without_the_plugins_keys_is_told_how_to_get_them():
    cfg = get_cfg()
    del cfg["SEED"]
    with pytest.raises(SettingsError, match=r"has no SEED.*call mdpr_fastreid\.add_mdpr_config\(cfg\)"):
        check_config(cfg)
    with pytest.raises(SettingsError, match=r"add_mdpr_config\(cfg\)"):
        check_config(CfgNode({"MODEL": CfgNode({"MDPR": 3})}))


def test_a_long_value_is_cut():
    cfg = get_cfg()
    cfg.SOLVER.STEPS = [-1] * 10000
    with pytest.raises(SettingsError, match=r"\.\.\. \(40000 characters\)"):
        check_config(cfg)


@BACKBONE_REGISTRY.register()
def build_backbone_of_a_project(cfg):
    """Takes its own depths and norms."""


@REID_HEADS_REGISTRY.register()
class HeadOfAProject(EmbeddingHead):
    """Takes its own pooling."""


@META_ARCH_REGISTRY.register()
class ArchitectureOfAProject(Baseline):
    """Takes its own losses."""


def test_a_projects_own_parts_are_accepted_and_may_take_other_values():
    own = "MODEL.META_ARCHITECTURE ArchitectureOfAProject MODEL.BACKBONE.NAME build_backbone_of_a_project "
    other = "MODEL.BACKBONE.DEPTH tiny MODEL.BACKBONE.NORM mine MODEL.LOSSES.NAME \"('MyLoss',)\" "
    head = "MODEL.HEADS.NAME HeadOfAProject MODEL.HEADS.POOL_LAYER mine MODEL.HEADS.NECK_FEAT both"
    assert config_of(own + other + head).is_frozen()


def test_batches_are_checked_for_every_process(monkeypatch):
    monkeypatch.setattr("fastreid.utils.comm.get_world_size", lambda: 8)
    with pytest.raises(SettingsError, match=r"SOLVER\.IMS_PER_BATCH 4 is less than 8 processes"):
        config_of("SOLVER.IMS_PER_BATCH 4")
    with pytest.raises(SettingsError, match=r"TEST\.IMS_PER_BATCH 4 is less than 8 processes"):
        config_of("TEST.IMS_PER_BATCH 4")
    with pytest.raises(SettingsError, match=r"SOLVER\.ACCUMULATE 3: a batch of 4 images a process .* at most 2 parts"):
        config_of("SOLVER.IMS_PER_BATCH 32 SOLVER.ACCUMULATE 3")
    with pytest.raises(SettingsError, match=r"SOLVER\.GATHER True with MODEL\.META_ARCHITECTURE MoCo"):
        config_of("SOLVER.GATHER True MODEL.META_ARCHITECTURE MoCo")
    with pytest.raises(SettingsError, match=r"a batch of 2 images a process .*DATALOADER\.NUM_INSTANCE 4"):
        config_of("SOLVER.IMS_PER_BATCH 16 DATALOADER.SAMPLER_TRAIN NaiveIdentitySampler")
