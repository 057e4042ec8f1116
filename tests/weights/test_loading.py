"""A model takes from a file what is meant for it, and says so; a file that does not fit is refused."""

import pytest
import timm
import torch
from fastreid.config import get_cfg
from fastreid.modeling import build_backbone, build_model
from small_runs import logged_by_fastreid
from support import golden
from support.settings import small_config, small_model
from support.timm_families import timm_baseline_config, timm_config
from support.weight_kinds import FILES, numbered, other_network, resnet, under

from mdpr_fastreid.engine.checkpoints import Checkpointer
from mdpr_fastreid.errors import UsageError
from mdpr_fastreid.modeling.backbones import BranchedBackbone
from mdpr_fastreid.modeling.backbones import build_backbone as build_pretrained_backbone
from mdpr_fastreid.weights import load_for_evaluation, sha256_of, start_from, write_weights
from mdpr_fastreid.weights.published import from_official, settings

PLAIN = resnet()
BOT = ["MODEL.META_ARCHITECTURE", "Baseline", "MODEL.HEADS.NAME", "EmbeddingHead", "MODEL.BACKBONE.FEAT_DIM", 512]
UNTOUCHED = -99.0


@pytest.fixture(scope="module")
def built():
    return small_model()


@pytest.fixture
def model(built):
    """A small MDPR, every weight of which shows whether it was loaded."""
    for value in built.state_dict().values():
        value.fill_(UNTOUCHED)
    return built


def saved(path, content):
    torch.save(content, path)
    return path


def assert_in_all_branches(model):
    own = model.backbone.state_dict()
    for name, whole in model.backbone.names_in_whole.items():
        if not name.endswith("num_batches_tracked"):
            assert torch.equal(own[name], PLAIN[whole]), name


@pytest.mark.parametrize("kind", FILES)
def test_training_of_mdpr_starts_from(tmp_path, model, kind):
    content, called = FILES[kind]
    with logged_by_fastreid() as messages:
        start_from(model, saved(tmp_path / "weights.pth", content))
    assert_in_all_branches(model)
    assert model.heads.state_dict()["embedding_heads.fusion.weight"].eq(UNTOUCHED).all()
    assert f"kind: {called}" in messages[0]


def test_safetensors_are_taken_too(tmp_path, model):
    write_weights(under("module.encoder_q.", PLAIN), tmp_path / "weights.safetensors")
    start_from(model, tmp_path / "weights.safetensors")
    assert_in_all_branches(model)


def test_one_table_says_what_was_taken_left_and_is_missing(tmp_path, model):
    path = saved(tmp_path / "moco.pth", FILES["MoCo"][0])
    with logged_by_fastreid() as messages:
        start_from(model, path)
    (table,) = messages
    rows = {
        cells[1].strip(): [cell.strip() for cell in cells[2:-1]]
        for line in table.splitlines()
        if len(cells := line.split("|")) > 3
    }
    assert rows["trunk: stem, stages 1 and 2"] == ["50/50", "", ""]
    assert rows["hard branch: stage 3"] == rows["soft branch: stage 4"] == ["25/25", "", ""]
    assert rows["heads"] == ["0/46", "46", ""]
    assert f"SHA-256: {sha256_of(path)}" in table
    assert "left in the file: encoder_k (122), encoder_q (2), queue (1)" in table


@pytest.mark.parametrize("key", ["MODEL.BACKBONE.PRETRAIN_PATH", "MODEL.WEIGHTS"])
@pytest.mark.parametrize("method", ["MDPR", "bag of tricks"])
def test_both_keys_take_files_for_mdpr_and_for_stock_methods(tmp_path, key, method):
    path = str(saved(tmp_path / "moco.pth", FILES["MoCo"][0]))
    method = [] if method == "MDPR" else BOT
    if key == "MODEL.WEIGHTS":
        model = small_model(*method)
        Checkpointer(model).resume_or_load(path, resume=False)
    else:
        model = small_model(*method, key, path, "MODEL.BACKBONE.PRETRAIN", True)
    names = getattr(model.backbone, "names_in_whole", None) or {n: n for n in model.backbone.state_dict()}
    for own, whole in names.items():
        assert "num_batches" in own or torch.equal(model.backbone.state_dict()[own], PLAIN[whole])


def test_the_published_mdpr_is_taken_whole(tmp_path):
    published = golden.load("mdpr_r18_attn3_part3_unguided_plain").state_dict
    ours = from_official(published)
    cfg = settings(ours)
    cfg.INPUT.SIZE_TRAIN = cfg.INPUT.SIZE_TEST = [96, 48]
    model = build_model(cfg)
    with logged_by_fastreid() as messages:
        start_from(model, saved(tmp_path / "official.pth", {"model": published}))
    assert "kind: the published MDPR; ResNet-18" in messages[0]
    assert model.state_dict().keys() == ours.keys()
    assert all(torch.equal(value, ours[name].to(value.dtype)) for name, value in model.state_dict().items())


def test_fine_tuning_leaves_the_classifiers_of_other_identities_out_and_says_so(tmp_path, model):
    torch.save({"model": numbered(small_model("MODEL.HEADS.NUM_CLASSES", 9).state_dict())}, tmp_path / "ours.pth")
    with logged_by_fastreid() as messages:
        start_from(model, tmp_path / "ours.pth")
    untouched = [name for name, value in model.state_dict().items() if value.eq(UNTOUCHED).all()]
    assert len(untouched) == 8
    assert all(name.endswith(".weight") and name.count(".") == 3 for name in untouched)
    assert "of another shape, so not taken: heads.embedding_heads." in messages[0]
    assert "[9, 16], here [4, 16]" in messages[0]


def test_a_stock_method_takes_the_hard_branch_of_an_mdpr(tmp_path, built):
    theirs = numbered(built.state_dict())
    model = small_model(*BOT)
    start_from(model, saved(tmp_path / "mdpr.pth", {"model": theirs}))
    assert torch.equal(model.backbone.layer4[1].bn2.weight, theirs["backbone.hard.stage4.1.bn2.weight"])
    assert torch.equal(model.backbone.conv1.weight, theirs["backbone.trunk.conv1.weight"])


def test_non_local_blocks_of_a_whole_backbone_find_their_place():
    cfg = get_cfg()
    cfg.merge_from_list(["MODEL.BACKBONE.NAME", "build_resnet_backbone", "MODEL.BACKBONE.WITH_NL", True])
    whole = build_backbone(cfg)
    names = BranchedBackbone(whole, ("hard", "soft")).names_in_whole
    assert names["trunk.layer2.non_local2.theta.weight"] == "NL_2.0.theta.weight"
    assert names["soft.stage3.non_local3.g.bias"] == "NL_3.0.g.bias"
    assert set(names.values()) == set(whole.state_dict())


def assert_refused(model, path, *parts):
    before = {name: value.clone() for name, value in model.state_dict().items()}
    with pytest.raises(UsageError) as caught:
        start_from(model, path)
    message = str(caught.value)
    assert "\n" not in message
    assert str(path) in message
    assert not [part for part in parts if part not in message], message
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_another_architecture_is_refused_by_name(tmp_path, model):
    vit = {"patch_embed.proj.weight": torch.zeros(4, 3, 16, 16), "blocks.0.attn.qkv.weight": torch.zeros(12, 4)}
    path = saved(tmp_path / "mocov3-vit.pth", {"state_dict": under("module.base_encoder.", vit)})
    assert_refused(
        model,
        path,
        "MoCo v3, base encoder, vision transformer fits 0 of the 150 weights of the model's backbone (ResNet-18)",
        "the file has module.base_encoder.patch_embed.proj.weight",
        "the model wants backbone.trunk.conv1.weight",
        "Known kinds: ResNets of torchvision, timm and IBN-Net; MoCo",
    )


def test_a_wrong_prefix_is_refused_with_names_of_both_sides(tmp_path, model):
    path = saved(tmp_path / "weights.pth", under("foo.", PLAIN))
    assert_refused(
        model, path, "unknown fits 0 of the 150", "the file has foo.conv1.weight", "wants backbone.trunk.conv1"
    )


def test_another_depth_is_refused_with_a_shape(tmp_path, model):
    path = saved(tmp_path / "weights.pth", resnet(50))
    assert_refused(
        model, path, "ResNet-50", "(ResNet-18)", "is [64, 64, 1, 1] in the file and [64, 64, 3, 3] in the model"
    )


def test_a_shallower_backbone_of_the_same_kind_is_a_warning_with_both(tmp_path):
    model = small_model(*BOT, "MODEL.BACKBONE.WITH_IBN", True)
    with logged_by_fastreid() as messages:
        start_from(model, saved(tmp_path / "weights.pth", PLAIN))
    assert "(ResNet-18) lacks 36 weights of the backbone (ResNet-18-IBN), which stay as initialised" in messages[1]


OTHER_DEPTHS = {
    "starnet_s4": ("starnet_s2", r"StarNet has 4 blocks in stages\.0, the model's backbone 2"),
    "starnet_s3": ("starnet_s2", r"StarNet has 3 blocks in stages\.0, the model's backbone 2"),
    "starnet_s2": ("starnet_s3", r"StarNet has 2 blocks in stages\.0, the model's backbone 3"),
    "regnetx_002": ("regnetx_002", r"RegNet or EfficientNet of pycls has 8 blocks in s4, the model's backbone 7"),
}


@pytest.mark.parametrize("config", [timm_config, timm_baseline_config])
@pytest.mark.parametrize("theirs", OTHER_DEPTHS)
def test_another_number_of_blocks_is_refused(tmp_path, theirs, config):
    ours, message = OTHER_DEPTHS[theirs]
    with torch.device("meta"):
        content = timm.create_model(theirs).state_dict()
    if theirs == ours:
        content |= {name.replace("s4.b7.", "s4.b8."): value for name, value in content.items()}
    path = saved(tmp_path / "weights.pth", numbered(content))
    key = "MODEL.BACKBONE.TIMM.MODEL"
    with pytest.raises(UsageError, match=f"{message}; set MODEL.BACKBONE as the file is"):
        start_from(build_model(config("starnet", key, ours)), path)
    start_from(build_model(config("starnet", key, ours)), saved(path, timm.create_model(ours).state_dict()))


def test_a_truncated_file_is_refused(tmp_path, model):
    path = saved(tmp_path / "weights.pth", PLAIN)
    path.write_bytes(path.read_bytes()[:-500])
    assert_refused(model, path, "is truncated or not a file of torch.save")


class WithQueue(torch.nn.Module):
    """A backbone, and a queue of past batches that only a resumed training goes on from."""

    training_state = ("queue",)

    def __init__(self, size, value):
        super().__init__()
        self.backbone = torch.nn.Linear(3, 2)
        self.register_buffer("queue", torch.full((size,), value))


@pytest.mark.parametrize("load", [start_from, load_for_evaluation])
@pytest.mark.parametrize("size", [4, 7])
def test_weights_bring_no_state_of_the_training_that_they_are_of(tmp_path, load, size):
    saved(tmp_path / "weights.pth", {"model": WithQueue(size, float("nan")).state_dict()})
    model = WithQueue(4, 0.0)
    with logged_by_fastreid() as messages:
        load(model, str(tmp_path / "weights.pth"))
    assert (model.queue == 0).all()
    assert torch.equal(model.backbone.weight, torch.load(tmp_path / "weights.pth")["model"]["backbone.weight"])
    assert load is load_for_evaluation or "left in the file: queue" in messages[0]


def test_a_resumed_training_goes_on_from_its_state(tmp_path):
    Checkpointer(WithQueue(4, 5.0), str(tmp_path)).save("model_0000")
    model = WithQueue(4, 0.0)
    Checkpointer(model, str(tmp_path)).resume_or_load("", resume=True)
    assert (model.queue == 5).all()


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_of_a_training_that_diverged_are_refused(tmp_path, model, value):
    broken = {**PLAIN, "layer2.0.bn1.running_var": torch.full((128,), value), "fc.bias": torch.full((1000,), value)}
    assert_refused(model, saved(tmp_path / "weights.pth", broken), "NaN or infinity", "in layer2.0.bn1.running_var")


def test_nan_in_what_is_left_in_the_file_does_no_harm(tmp_path, model):
    start_from(model, saved(tmp_path / "weights.pth", {**PLAIN, "fc.bias": torch.full((1000,), torch.nan)}))
    assert_in_all_branches(model)


def test_weights_of_ibn_net_fill_an_ibn_backbone(tmp_path):
    model = small_model(*BOT, "MODEL.BACKBONE.WITH_IBN", True)
    weights = numbered(model.backbone.state_dict())
    with logged_by_fastreid() as messages:
        start_from(model, saved(tmp_path / "ibn.pth", under("module.", weights)))
    assert "kind: backbone of IBN-Net; ResNet-18-IBN" in messages[0]
    assert torch.equal(model.backbone.layer1[0].bn1.IN.weight, weights["layer1.0.bn1.IN.weight"])


def test_a_vision_transformers_positions_are_resized(tmp_path):
    options = ["MODEL.BACKBONE.NAME", "build_vit_backbone", "MODEL.BACKBONE.DEPTH", "small"]
    options += ["INPUT.SIZE_TRAIN", [64, 32], "MODEL.BACKBONE.STRIDE_SIZE", (16, 16)]
    cfg = small_config(*options)
    weights = numbered(build_backbone(cfg).state_dict())
    weights["pos_embed"] = torch.full((1, 1, 1), 3.0).expand(1, 1 + 14 * 14, 768)
    path = saved(tmp_path / "vit.pth", {"model": weights})
    backbone = build_pretrained_backbone(
        small_config(*options, "MODEL.BACKBONE.PRETRAIN", True, "MODEL.BACKBONE.PRETRAIN_PATH", str(path))
    )
    assert backbone.pos_embed.shape == (1, 9, 768)
    assert backbone.pos_embed.eq(3).all()


def test_a_model_of_the_users_own_finds_its_names(tmp_path):
    model = torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.BatchNorm1d(2))
    weights = numbered(model.state_dict())
    start_from(model, saved(tmp_path / "own.pth", under("module.", weights)))
    assert torch.equal(model[1].running_var, weights["1.running_var"])


def start_training(model, path, digest):
    Checkpointer(model, sha256=digest).resume_or_load(str(path), resume=False)


def test_a_pinned_hash_is_compared_where_training_starts(tmp_path, model):
    path = saved(tmp_path / "weights.pth", PLAIN)
    digest = sha256_of(path)
    start_training(model, path, digest[:8].upper())
    assert_in_all_branches(model)
    with pytest.raises(UsageError, match=f"MODEL.WEIGHTS_SHA256 says: its SHA-256 is {digest}, pinned is 12345678$"):
        start_training(model, path, "sha256:12345678")


def test_a_pinned_hash_of_no_file_is_one_line(model):
    with pytest.raises(UsageError, match=r"MODEL\.WEIGHTS_SHA256 pins a file, but MODEL\.WEIGHTS names none"):
        start_training(model, "", "sha256:12345678")


def test_a_pinned_hash_is_compared_before_anything_is_read(tmp_path, model):
    (tmp_path / "weights.pth").write_text("no weights at all")
    for pinned, message in (("0" * 64, "is another file than MODEL.WEIGHTS_SHA256 says"), ("abc", "is no SHA-256")):
        with pytest.raises(UsageError, match=message):
            start_from(model, tmp_path / "weights.pth", pinned)


def test_a_pinned_hash_is_compared_for_a_backbone(tmp_path):
    path = saved(tmp_path / "weights.pth", PLAIN)
    options = ["MODEL.BACKBONE.PRETRAIN", True, "MODEL.BACKBONE.PRETRAIN_PATH", str(path)]
    build_model(small_config(*BOT, *options, "MODEL.BACKBONE.PRETRAIN_SHA256", sha256_of(path)))
    with pytest.raises(UsageError, match="PRETRAIN_SHA256 says"):
        build_model(small_config(*BOT, *options, "MODEL.BACKBONE.PRETRAIN_SHA256", "f" * 64))


def test_a_backbone_for_which_the_toolbox_has_no_weights_says_so():
    options = ["MODEL.BACKBONE.PRETRAIN", True, "MODEL.BACKBONE.WITH_SE", True]
    with pytest.raises(UsageError, match=r"knows no pretrained weights for this backbone, build_resnet_backbone with "):
        build_model(small_config(*BOT, *options))


def test_a_seed_draws_the_same_weights_whether_the_toolboxs_file_is_looked_up_or_given(tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    (tmp_path / "checkpoints").mkdir()
    path = saved(tmp_path / "checkpoints" / "resnet18-5c106cde.pth", PLAIN)
    models = []
    for given in ("", str(path)):
        torch.manual_seed(3)
        models.append(small_model("MODEL.BACKBONE.PRETRAIN", True, "MODEL.BACKBONE.PRETRAIN_PATH", given))
    first, second = (model.state_dict() for model in models)
    assert all(torch.equal(value, second[name]) for name, value in first.items())
    assert not torch.equal(
        first["hard.global_embedding.conv.weight"], other_network(first)["hard.global_embedding.conv.weight"]
    )
