"""Face parsing: BiSeNet on ResNet-18, 19 classes of CelebAMask-HQ.

Yu et al. 2018 (arXiv 1808.00897), as trained and published in zllrunning/face-parsing.PyTorch (`79999_iter.pth`).
Module names are those of that file, so that it loads strictly.
"""

from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from stitchedit.arrays import Labels
from stitchedit.errors import WeightsError
from stitchedit.tensors import Image

CLASSES = (
    "background",
    "skin",
    "left_brow",
    "right_brow",
    "left_eye",
    "right_eye",
    "glasses",
    "left_ear",
    "right_ear",
    "earring",
    "nose",
    "mouth",
    "upper_lip",
    "lower_lip",
    "neck",
    "necklace",
    "cloth",
    "hair",
    "hat",
)
SIZE = 512  # of the crops the network was trained on

# ImageNet's mean and deviation, of pixels in [0, 1]
MEAN = (0.485, 0.456, 0.406)
DEVIATION = (0.229, 0.224, 0.225)


class ConvNormReLU(nn.Module):
    """Convolution, batch norm, ReLU."""

    def __init__(self, channels_in: int, channels_out: int, kernel: int = 3) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels_in, channels_out, kernel, padding=kernel // 2, bias=False)
        self.bn = nn.BatchNorm2d(channels_out)

    def forward(self, features: Tensor) -> Tensor:
        return F.relu(self.bn(self.conv(features)), inplace=True)


class ResidualBlock(nn.Module):
    """ResNet's basic block."""

    def __init__(self, channels_in: int, channels_out: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels_in, channels_out, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels_out)
        self.conv2 = nn.Conv2d(channels_out, channels_out, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels_out)
        self.downsample: nn.Module = nn.Identity()
        if stride > 1:
            shortcut = nn.Conv2d(channels_in, channels_out, 1, stride, bias=False)
            self.downsample = nn.Sequential(shortcut, nn.BatchNorm2d(channels_out))

    def forward(self, features: Tensor) -> Tensor:
        residual = F.relu(self.bn1(self.conv1(features)), inplace=True)
        residual = self.bn2(self.conv2(residual))
        return F.relu(self.downsample(features) + residual, inplace=True)


class ResNet18(nn.Module):
    """Features at 1/8, 1/16 and 1/32 of the image."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 64, 7, stride=2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        self.layer1 = nn.Sequential(ResidualBlock(64, 64, 1), ResidualBlock(64, 64, 1))
        self.layer2 = nn.Sequential(ResidualBlock(64, 128, 2), ResidualBlock(128, 128, 1))
        self.layer3 = nn.Sequential(ResidualBlock(128, 256, 2), ResidualBlock(256, 256, 1))
        self.layer4 = nn.Sequential(ResidualBlock(256, 512, 2), ResidualBlock(512, 512, 1))

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        features = F.relu(self.bn1(self.conv1(images)), inplace=True)
        features = self.layer1(F.max_pool2d(features, 3, stride=2, padding=1))
        eighth = self.layer2(features)
        sixteenth = self.layer3(eighth)
        return eighth, sixteenth, self.layer4(sixteenth)


class AttentionRefinement(nn.Module):
    """Channels weighed by what the whole image holds."""

    def __init__(self, channels_in: int, channels_out: int) -> None:
        super().__init__()
        self.conv = ConvNormReLU(channels_in, channels_out)
        self.conv_atten = nn.Conv2d(channels_out, channels_out, 1, bias=False)
        self.bn_atten = nn.BatchNorm2d(channels_out)

    def forward(self, features: Tensor) -> Tensor:
        features = self.conv(features)
        gain = self.bn_atten(self.conv_atten(features.mean(dim=(2, 3), keepdim=True)))
        return features * gain.sigmoid()  # type: ignore[no-any-return]


class ContextPath(nn.Module):
    """Features at 1/8 of the image, as ResNet sees them and with the context of the whole image."""

    def __init__(self) -> None:
        super().__init__()
        self.resnet = ResNet18()
        self.arm16 = AttentionRefinement(256, 128)
        self.arm32 = AttentionRefinement(512, 128)
        self.conv_head32 = ConvNormReLU(128, 128)
        self.conv_head16 = ConvNormReLU(128, 128)
        self.conv_avg = ConvNormReLU(512, 128, kernel=1)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        eighth, sixteenth, last = self.resnet(images)
        context = self.arm32(last) + self.conv_avg(last.mean(dim=(2, 3), keepdim=True))
        context = self.conv_head32(F.interpolate(context, sixteenth.shape[2:]))
        context = self.arm16(sixteenth) + context
        return eighth, self.conv_head16(F.interpolate(context, eighth.shape[2:]))


class FeatureFusion(nn.Module):
    """Both kinds of features mixed, channels weighed by what the whole image holds."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.convblk = ConvNormReLU(channels, channels, kernel=1)
        self.conv1 = nn.Conv2d(channels, channels // 4, 1, bias=False)
        self.conv2 = nn.Conv2d(channels // 4, channels, 1, bias=False)

    def forward(self, detail: Tensor, context: Tensor) -> Tensor:
        features = self.convblk(torch.cat([detail, context], dim=1))
        gain = F.relu(self.conv1(features.mean(dim=(2, 3), keepdim=True)))
        return features * (1 + self.conv2(gain).sigmoid())  # type: ignore[no-any-return]


class ClassHead(nn.Module):
    """Features to class scores."""

    def __init__(self, channels_in: int, channels: int) -> None:
        super().__init__()
        self.conv = ConvNormReLU(channels_in, channels)
        self.conv_out = nn.Conv2d(channels, len(CLASSES), 1, bias=False)

    def forward(self, features: Tensor) -> Tensor:
        return self.conv_out(self.conv(features))  # type: ignore[no-any-return]


class FaceParser(nn.Module):
    """Faces to class logits: `face rgb size size` in [-1, 1] to `face class size size`.

    Feed it FFHQ crops at 512; other multiples of 32 work, less well.
    """

    mean: Tensor
    deviation: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.cp = ContextPath()
        self.ffm = FeatureFusion(256)
        self.conv_out = ClassHead(256, 256)
        # Heads that helped training: in the published file, not in the answer.
        self.conv_out16 = ClassHead(128, 64)
        self.conv_out32 = ClassHead(128, 64)
        self.register_buffer("mean", torch.tensor(MEAN)[:, None, None], persistent=False)
        self.register_buffer("deviation", torch.tensor(DEVIATION)[:, None, None], persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        images = ((images + 1) / 2 - self.mean) / self.deviation
        logits = self.conv_out(self.ffm(*self.cp(images)))
        return F.interpolate(logits, images.shape[2:], mode="bilinear", align_corners=True)


def read_face_parser(path: Path) -> FaceParser:
    """The published network, ready to use.

    Raises:
        WeightsError: the file is not that network.
    """
    parser = FaceParser()
    try:
        parser.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
    except Exception as error:
        raise WeightsError(f"{path} is not BiSeNet with {len(CLASSES)} classes: {error}") from error
    parser.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return parser.eval().requires_grad_(False)


@torch.inference_mode()
def parse_faces(parser: FaceParser, crops: Image) -> Labels:
    """Class of every pixel, an index into `CLASSES`. One crop at a time, to bound memory."""
    labels = [parser(crop[None]).argmax(dim=1) for crop in crops.contiguous(memory_format=torch.channels_last)]
    return torch.cat(labels).to(torch.uint8).cpu().numpy()
