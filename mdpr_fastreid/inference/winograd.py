"""3x3 convolutions with a quarter of the multiplications, where no vendor library has them: float32 on a CPU."""

import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.utils import parametrize

# F(4x4, 3x3) of Lavin and Gray, "Fast Algorithms for Convolutional Neural Networks", CVPR 2016, section 4.3:
# Y = A^T [(G g G^T) * (B^T d B)] A for a 6x6 tile d of the input, which gives a 4x4 tile Y of the output.
_G = torch.tensor(
    [
        [1 / 4, 0, 0],
        [-1 / 6, -1 / 6, -1 / 6],
        [-1 / 6, 1 / 6, -1 / 6],
        [1 / 24, 1 / 12, 1 / 6],
        [1 / 24, -1 / 12, 1 / 6],
        [0, 0, 1],
    ],
    dtype=torch.float64,
)
_BT = torch.tensor(
    [
        [4, 0, -5, 0, 1, 0],
        [0, -4, -4, 1, 1, 0],
        [0, 4, -4, -1, 1, 0],
        [0, -2, -1, 2, 1, 0],
        [0, 2, -1, -2, 1, 0],
        [0, 4, 0, -5, 0, 1],
    ],
    dtype=torch.float64,
)
_AT = torch.tensor(
    [
        [1, 1, 1, 1, 1, 0],
        [0, 1, -1, 2, -2, 0],
        [0, 1, 1, 4, 4, 0],
        [0, 1, -1, 8, -8, 1],
    ],
    dtype=torch.float64,
)
TILE, STEP = 6, 4
KERNEL_TRANSFORM = torch.kron(_G, _G)
"""``[36, 9]``: the taps of a 3x3 kernel to its transformed tile."""
INPUT_TRANSFORM = torch.kron(_BT, _BT)
"""``[36, 36]``: a 6x6 tile of the input."""
OUTPUT_TRANSFORM = torch.kron(_AT, _AT)
"""``[16, 36]``: a transformed tile to the 4x4 tile of the output."""
# The second column of A^T is all ones, so what is added here appears in every value of the output's tile.
_EVERYWHERE = 1 * TILE + 1


def tile_grid(features: torch.Tensor) -> tuple[int, int, int, int]:
    """Rows and columns of 4x4 tiles that cover a map, and by how much they reach over it below and to the right."""
    height, width = features.shape[2:]
    rows, columns = -(-height // STEP), -(-width // STEP)
    return rows, columns, rows * STEP - height, columns * STEP - width


def transformed_tiles(features: torch.Tensor, transform: torch.Tensor) -> torch.Tensor:
    """``[B, C, h, w]`` -> ``[36, tiles, C]``: all 6x6 tiles, which reach one pixel over their output on every side."""
    rows, columns, below, right = tile_grid(features)
    padded = F.pad(features.permute(0, 2, 3, 1), (0, 0, 1, right + 1, 1, below + 1))
    tiles = padded.unfold(1, TILE, STEP).unfold(2, TILE, STEP)  # [B, rows, columns, C, 6, 6]
    count, channels = features.size(0) * rows * columns, features.size(1)
    tiles = tiles.permute(4, 5, 0, 1, 2, 3).reshape(TILE**2, count * channels)
    return (transform @ tiles).view(TILE**2, count, channels)


def outputs_of_tiles(products: torch.Tensor, transform: torch.Tensor, features: torch.Tensor) -> torch.Tensor:
    """``[36, tiles, C']`` -> ``[B, h, w, C']``, of the batch and size of ``features`` ``[B, C, h, w]``."""
    rows, columns, _, _ = tile_grid(features)
    batch, _, height, width = features.shape
    channels = products.size(2)
    outputs = transform @ products.view(TILE**2, features.size(0) * rows * columns * channels)
    outputs = outputs.view(STEP, STEP, batch, rows, columns, channels).permute(2, 3, 0, 4, 1, 5)
    outputs = outputs.reshape(batch, rows * STEP, columns * STEP, channels)
    return outputs[:, :height, :width]


def is_plain_convolution(module: nn.Module) -> bool:
    """Whether a module convolves with the weight that it holds; a class of its own may do more, or change it."""
    return (
        isinstance(module, nn.Conv2d)
        and type(module).forward is nn.Conv2d.forward
        and type(module)._conv_forward is nn.Conv2d._conv_forward
        and not parametrize.is_parametrized(module)
    )


class WinogradConv2d(nn.Module):
    """A 3x3 convolution with stride 1 and padding 1, by Winograd's minimal filtering F(4x4, 3x3).

    The 144 multiplications of a 4x4 tile of the output become 36, done as 36 products of matrices. It holds four
    times the numbers of the plain convolution's weight.

    Args:
        conv: the convolution; see :meth:`takes`.

    Shapes:
        ``[B, in_channels, h, w]`` -> ``[B, out_channels, h, w]``, channels-last.
    """

    def __init__(self, conv: nn.Conv2d):
        super().__init__()
        self.in_channels, self.out_channels = conv.in_channels, conv.out_channels
        taps = conv.weight.detach().permute(2, 3, 1, 0).reshape(9, -1)
        transformed = KERNEL_TRANSFORM.to(taps) @ taps
        self.weight = nn.Parameter(transformed.view(TILE**2, conv.in_channels, conv.out_channels), requires_grad=False)
        self.bias = None if conv.bias is None else nn.Parameter(conv.bias.detach().clone(), requires_grad=False)
        self.register_buffer("input_transform", INPUT_TRANSFORM.to(conv.weight), persistent=False)
        self.register_buffer("output_transform", OUTPUT_TRANSFORM.to(conv.weight), persistent=False)

    @staticmethod
    def takes(module: nn.Module) -> bool:
        """Whether a module is a convolution that this computes, and faster."""
        return (
            is_plain_convolution(module)
            and module.kernel_size == (3, 3)
            and module.stride == module.padding == module.dilation == (1, 1)
            and module.groups == 1
            and module.padding_mode == "zeros"
            and min(module.in_channels, module.out_channels) >= MIN_CHANNELS
        )

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """``[B, in_channels, h, w]`` -> ``[B, out_channels, h, w]``."""
        products = torch.bmm(transformed_tiles(features, self.input_transform), self.weight)
        if self.bias is not None:
            products[_EVERYWHERE] += self.bias
        outputs = outputs_of_tiles(products, self.output_transform, features)
        return outputs.contiguous().permute(0, 3, 1, 2)

    def extra_repr(self) -> str:
        return f"{self.in_channels}, {self.out_channels}"


MIN_CHANNELS = 128
"""Below this many channels the transforms cost more than the products save."""


def use_winograd(network: nn.Module) -> None:
    """Replace every convolution of a network that :class:`WinogradConv2d` takes, in place."""
    for name, module in list(network.named_modules()):
        if WinogradConv2d.takes(module):
            network.set_submodule(name, WinogradConv2d(module))
