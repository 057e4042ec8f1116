"""Pooling and visibility against BPBreID's values and loops over cells; what they do not depend on."""

import pytest
import torch
import torch.nn.functional as F
from bpbreid_values import GOLDEN, u, values
from drop.layers import PixelClassifier, part_pooling, part_visibility, pooling_weights
from torch.autograd import gradcheck

from mdpr_fastreid.errors import SettingsError

POOLING = GOLDEN["pooling"]
MODES = ("avg+max", "avg", "max", "bpbreid")


def golden_features():
    return u(30, 5, 4, 3, 2).clamp_min(0)


def golden_classifier():
    classifier = PixelClassifier(4, 4).double()
    with torch.no_grad():
        classifier.classifier.weight.copy_((8 * u(31, 4, 4))[:, :, None, None])
        classifier.classifier.bias.copy_(u(32, 4))
    return classifier


def random_maps(seed=0, size=(3, 2), fine=(3, 2), parts=3, images=2, channels=4):
    """A map without negative values, and probabilities."""
    rng = torch.Generator().manual_seed(seed)
    features = torch.rand(images, channels, *size, generator=rng, dtype=torch.float64)
    return features, torch.randn(images, parts + 1, *fine, generator=rng, dtype=torch.float64).softmax(dim=1)


def slow(features, probabilities, mode):
    """``[B, K + 2, C]``: the whole picture, the foreground, the parts; probabilities as large as the map."""
    pooled = []
    for maps, image in zip(features.flatten(2), probabilities.flatten(2), strict=True):
        parts, cells = image[1:], range(maps.shape[1])
        masks = [[1.0] * len(cells), [max(part[x] for part in parts) for x in cells], *parts.tolist()]
        rows = []
        for number, mask in enumerate(masks):
            area = len(cells) if mode == "bpbreid" and number < 2 else max(sum(mask), 1e-6)
            average = [sum(mask[x] * channel[x] for x in cells) / area for channel in maps.tolist()]
            largest = [max(mask[x] * channel[x] for x in cells) for channel in maps.tolist()]
            rows.append(
                {
                    "avg": average,
                    "bpbreid": average,
                    "max": largest,
                    "avg+max": [a + b for a, b in zip(average, largest, strict=True)],
                }[mode]
            )
        pooled.append(rows)
    return torch.tensor(pooled, dtype=torch.float64)


def stacked(pooled):
    return torch.cat([pooled.whole[:, None], pooled.foreground[:, None], pooled.parts], dim=1)


def test_classifier_and_probabilities_are_bpbreids():
    logits = golden_classifier().eval()(golden_features())
    torch.testing.assert_close(logits, values(POOLING["logits"]), atol=1e-9, rtol=0)
    torch.testing.assert_close(logits.softmax(dim=1), values(POOLING["probabilities"]), atol=1e-9, rtol=0)


def test_visibility_is_bpbreids():
    probabilities = values(POOLING["probabilities"])
    binary = values(POOLING["visibility_binary"]["parts"])
    assert torch.equal(part_visibility(probabilities), binary)
    assert torch.equal(part_visibility(probabilities.log()), binary)
    continuous = values(POOLING["visibility_continuous"]["parts"])
    torch.testing.assert_close(part_visibility(probabilities, binary=False), continuous, atol=1e-9, rtol=0)


def test_pooling_is_bpbreids():
    pooled = part_pooling(golden_features(), values(POOLING["probabilities"]), "bpbreid")
    expected = POOLING["results"]["gwap"]
    torch.testing.assert_close(pooled.whole, values(expected["global"]), atol=1e-9, rtol=0)
    torch.testing.assert_close(pooled.foreground, values(expected["foreground"]), atol=1e-9, rtol=0)
    torch.testing.assert_close(pooled.parts, values(expected["parts"]), atol=1e-9, rtol=0)
    largest = part_pooling(golden_features(), values(POOLING["probabilities"]), "max").parts
    torch.testing.assert_close(largest, values(POOLING["results"]["gmp"]["parts"]), atol=1e-9, rtol=0)


def test_pooling_in_training_and_reduction_are_bpbreids():
    pooled = part_pooling(golden_features(), golden_classifier().train()(golden_features()).softmax(dim=1), "bpbreid")
    inputs = {"global": (pooled.whole, 33), "foreground": (pooled.foreground, 34), "parts": (pooled.parts, 35)}
    for name, (embedding, seed) in inputs.items():
        rows = F.linear(embedding.flatten(0, -2), u(seed, 3, 4))
        reduced = F.batch_norm(rows, None, None, training=True).relu().unflatten(0, embedding.shape[:-1])
        torch.testing.assert_close(reduced, values(POOLING["reduced_in_training"][name]), atol=1e-9, rtol=0)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("with_gradient", [False, True])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_it_is_the_formula(mode, with_gradient, layout):
    features, probabilities = random_maps()
    with torch.set_grad_enabled(with_gradient):
        pooled = part_pooling(features.to(memory_format=layout), probabilities, mode)
    torch.testing.assert_close(stacked(pooled), slow(features, probabilities, mode), atol=1e-12, rtol=0)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("fine", [(3, 2), (6, 4), (7, 5)])
def test_its_gradient_is_that_of_the_formula(mode, fine):
    features, probabilities = random_maps(fine=fine)
    assert gradcheck(
        lambda f, p: stacked(part_pooling(f, p, mode)), (features.requires_grad_(), probabilities.requires_grad_())
    )


@pytest.mark.parametrize("fine", [(12, 8), (7, 5), (3, 2)])
def test_weights_of_all_classes_add_up_to_one(fine):
    _, probabilities = random_maps(fine=fine)
    background = F.adaptive_avg_pool2d(probabilities[:, :1], (3, 2))
    total = pooling_weights(probabilities, (3, 2)).sum(dim=1, keepdim=True) + background
    torch.testing.assert_close(total, torch.ones(2, 1, 3, 2).double())


def test_the_weighted_average_is_that_of_the_enlarged_map():
    features, probabilities = random_maps(fine=(12, 8))
    enlarged = F.interpolate(features, scale_factor=4, mode="nearest")
    expected = part_pooling(enlarged, probabilities, "avg").parts
    torch.testing.assert_close(part_pooling(features, probabilities, "avg").parts, expected, atol=1e-12, rtol=0)


def test_the_average_does_not_depend_on_the_scale_of_a_part():
    features, probabilities = random_maps()
    scaled = probabilities * torch.tensor([1, 0.5, 1, 1]).view(1, 4, 1, 1)
    one, other = (part_pooling(features, p, "avg").parts for p in (probabilities, scaled))
    torch.testing.assert_close(one, other, atol=1e-14, rtol=0)
    assert not torch.allclose(*(part_pooling(features, p, "max").parts for p in (probabilities, scaled)))


@pytest.mark.parametrize("mode", MODES)
def test_a_part_that_is_nowhere_pools_nothing_and_leaves_the_others_as_they_are(mode):
    features, probabilities = random_maps()
    without = probabilities.clone()
    without[:, 2] = 0
    before, after = part_pooling(features, probabilities, mode), part_pooling(features, without, mode)
    assert torch.equal(after.parts[:, 1], torch.zeros(2, 4).double())
    assert torch.equal(after.parts[:, [0, 2]], before.parts[:, [0, 2]])
    assert torch.equal(after.whole, before.whole)
    largest_elsewhere = probabilities.clone()
    largest_elsewhere[:, 2] = 0.5 * probabilities[:, [1, 3]].amax(dim=1)
    kept = part_pooling(features, largest_elsewhere, mode).foreground
    assert torch.equal(kept, after.foreground)


@pytest.mark.parametrize("mode", MODES)
def test_half_precision_is_pooled_in_float32(mode):
    features, probabilities = random_maps(size=(16, 8), fine=(64, 32))
    expected = stacked(part_pooling(features.bfloat16().double(), probabilities.float().double(), mode))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        pooled = stacked(part_pooling(features.bfloat16(), probabilities.float(), mode))
    assert pooled.dtype == torch.float32
    torch.testing.assert_close(pooled.double(), expected, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("min_cells", [1, 2, 6])
def test_a_part_is_visible_that_is_the_likeliest_class_of_cells_enough(min_cells):
    _, probabilities = random_maps(images=8)
    likeliest = probabilities.argmax(dim=1).flatten(1).tolist()
    expected = [[float(image.count(part) >= min_cells) for part in (1, 2, 3)] for image in likeliest]
    visible = part_visibility(probabilities.requires_grad_(), min_cells=min_cells)
    assert visible.tolist() == expected
    assert not visible.requires_grad


def test_another_mode_is_an_error():
    with pytest.raises(SettingsError, match=r"POOLING must be one of avg\+max, avg, max, bpbreid, got 'sum'"):
        part_pooling(*random_maps(), "sum")
