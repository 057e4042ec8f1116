"""What only parsing reads (DPU, PPE) and its classifier, against loops, and where they have to run."""

import pytest
import torch
from drop.layers import DetailPreservingUpsampling, PixelClassifier, PositionEncoder, part_pooling, part_visibility
from torch import nn
from torch.autograd import gradcheck

from mdpr_fastreid.inference.batch_norm import fold_batch_norms

STAGES = ((6, 8, 4), (5, 4, 2), (4, 2, 1), (3, 2, 1))
ODD = ((6, 9, 5), (5, 5, 3), (4, 3, 2), (3, 2, 1))


def stages(shapes=STAGES, images=2, dtype=torch.float32, seed=0):
    rng = torch.Generator().manual_seed(seed)
    return [torch.randn(images, *shape, generator=rng, dtype=dtype) for shape in shapes]


def upsampling(channels=4, shapes=STAGES):
    """In evaluation, with statistics and scales as after a training."""
    torch.manual_seed(0)
    module = DetailPreservingUpsampling([channels for channels, *_ in shapes], channels)
    for norm in module.modules():
        if isinstance(norm, nn.BatchNorm2d):
            for values in (norm.weight, norm.bias, norm.running_mean, norm.running_var):
                nn.init.uniform_(values, 0.5, 1.5)
    return module.eval()


class Parsing(nn.Module):
    """The branch, and what reads its probabilities."""

    def __init__(self, shapes=STAGES):
        super().__init__()
        self.upsampling = upsampling(shapes=shapes)
        self.positions = PositionEncoder(4, shapes[0][1])
        self.classifier = PixelClassifier(4, 4)
        nn.init.normal_(self.positions.table)
        nn.init.normal_(self.classifier.classifier.weight)
        self.eval()

    def forward(self, s1, s2, s3, s4):
        probabilities = self.classifier(self.positions(self.upsampling([s1, s2, s3, s4]))).softmax(dim=1)
        pooled = part_pooling(s4.relu(), probabilities)
        return pooled.whole, pooled.foreground, pooled.parts, part_visibility(probabilities)


def bilinear(image, height, width):
    """``[h, w]`` nested lists to another size, corners not aligned."""

    def positions(before, after):
        for i in range(after):
            x = min(max((i + 0.5) * before / after - 0.5, 0), before - 1)
            low = min(int(x), before - 1)
            yield low, min(low + 1, before - 1), x - low

    rows, columns = list(positions(len(image), height)), list(positions(len(image[0]), width))
    return [
        [
            (1 - a) * ((1 - b) * image[t][left] + b * image[t][right])
            + a * ((1 - b) * image[u][left] + b * image[u][right])
            for left, right, b in columns
        ]
        for t, u, a in rows
    ]


@pytest.mark.parametrize("sizes", [((8, 4), (4, 2), (2, 1), (2, 1)), ((9, 5), (5, 3), (3, 2), (2, 1))])
def test_upsampling_of_one_channel_is_the_formula(sizes):
    shapes = [(1, *size) for size in sizes]
    module = upsampling(1, shapes).double()
    maps = stages(shapes, images=1, dtype=torch.float64)

    def normalised(value, norm):
        scale = norm.weight.item() / (norm.running_var.item() + norm.eps) ** 0.5
        return max(0.0, (value - norm.running_mean.item()) * scale + norm.bias.item())

    fused = None
    for reduction, stage in reversed(list(zip(module.reductions, maps, strict=True))):
        weight = reduction.conv.weight.item()
        reduced = [[normalised(weight * value, reduction.bn) for value in row] for row in stage[0, 0].tolist()]
        if fused is not None:
            larger = bilinear(fused, len(reduced), len(reduced[0]))
            reduced = [[a + b for a, b in zip(*rows, strict=True)] for rows in zip(reduced, larger, strict=True)]
        fused = reduced
    kernel, norm = module.smooth[0].weight[0, 0].tolist(), module.smooth[1]
    height, width = len(fused), len(fused[0])
    expected = [
        [
            normalised(
                sum(
                    kernel[dy + 1][dx + 1] * fused[y + dy][x + dx]
                    for dy in (-1, 0, 1)
                    for dx in (-1, 0, 1)
                    if 0 <= y + dy < height and 0 <= x + dx < width
                ),
                norm,
            )
            for x in range(width)
        ]
        for y in range(height)
    ]
    torch.testing.assert_close(module(maps)[0, 0], torch.tensor(expected, dtype=torch.float64), atol=1e-12, rtol=0)


def test_position_is_added_row_by_row():
    positions = PositionEncoder(3, 5)
    features = torch.randn(2, 3, 5, 4)
    assert torch.equal(positions(features), features)
    nn.init.normal_(positions.table)
    expected = features.clone()
    for row in range(5):
        expected[:, :, row] += positions.table[:, row, None]
    assert torch.equal(positions(features), expected)


def test_positions_of_another_height_are_interpolated():
    positions = PositionEncoder(1, 4)
    with torch.no_grad():
        positions.table.copy_(torch.tensor([[0.0, 4.0, 8.0, 12.0]]))
    assert positions(torch.zeros(1, 1, 2, 1)).flatten().tolist() == [2, 10]
    assert positions(torch.zeros(1, 1, 8, 1)).flatten().tolist() == [0, 1, 3, 5, 7, 9, 11, 12]


def test_a_fresh_classifier_knows_nothing():
    torch.manual_seed(0)
    classifier = PixelClassifier(128, 9)
    probabilities = classifier(torch.randn(8, 128, 16, 8)).softmax(dim=1)
    torch.testing.assert_close(probabilities, torch.full_like(probabilities, 1 / 9), atol=0.02, rtol=0)
    assert classifier.classifier.weight.std().item() == pytest.approx(0.001, rel=0.1)
    assert not classifier.classifier.bias.any()


def test_under_autocast_the_classifier_computes_in_float32():
    classifier = PixelClassifier(8, 4).eval()
    features = torch.randn(2, 8, 4, 2).bfloat16()
    expected = classifier(features.float())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(classifier(features), expected)


def test_its_gradients_are_those_of_the_formula():
    model = Parsing(ODD).double()
    inputs = [stage.requires_grad_() for stage in stages(ODD, images=1, dtype=torch.float64)]
    weights = [*model.positions.parameters(), *model.classifier.parameters()]

    def probabilities(*arguments):
        maps = arguments[:4]
        return model.classifier(model.positions(model.upsampling(maps))).softmax(dim=1)

    assert gradcheck(probabilities, (*inputs, *weights))


@pytest.mark.parametrize("shapes", [STAGES, ODD])
def test_it_has_the_size_of_the_first_stage_also_on_the_meta_device(shapes):
    model = Parsing(shapes)
    with torch.no_grad():
        maps = model.upsampling(stages(shapes))
        assert maps.shape == (2, 4, *shapes[0][1:])
        found = model(*stages(shapes))
        on_meta = model.to("meta")(*(torch.empty(2, *shape, device="meta") for shape in shapes))
    assert [tuple(value.shape) for value in on_meta] == [tuple(value.shape) for value in found]


def test_constant_stages_stay_constant():
    model = upsampling(shapes=ODD)
    reduced = [reduce(torch.full((1, *shape), 2.0)) for reduce, shape in zip(model.reductions, ODD, strict=True)]
    expected = sum(value[:, :, 0, 0] for value in reduced)
    model.smooth = nn.Identity()
    seen = model([torch.full((1, *shape), 2.0) for shape in ODD])
    torch.testing.assert_close(seen, expected[..., None, None].expand_as(seen))


def test_batch_norms_before_the_classifiers_fold_into_convolutions():
    model, maps = Parsing(), stages(seed=1)
    with torch.no_grad():
        expected = model(*maps)
        folded = fold_batch_norms(model)
        for one, other in zip(folded(*maps), expected, strict=True):
            torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-5)
    assert [name for name, module in folded.named_modules() if isinstance(module, nn.BatchNorm2d)] == ["classifier.bn"]
