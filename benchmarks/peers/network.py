"""MobileNetV1 in PyTorch, as models/mobilenet_v1.h has it."""
from torch import nn

BLOCKS = [(64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2)] + [(512, 1)] * 5 + [(1024, 2), (1024, 1)]


class Block(nn.Sequential):
    def __init__(self, inputs, outputs, stride):
        super().__init__(
            nn.Conv2d(inputs, inputs, 3, stride, 1, groups=inputs, bias=False), nn.BatchNorm2d(inputs), nn.ReLU6(),
            nn.Conv2d(inputs, outputs, 1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU6())


def mobilenet_v1(resolution=32, width=1.0, classes=10):
    def scaled(channels):
        return max(8, int(channels * width))

    inputs = scaled(32)
    layers = [nn.Conv2d(3, inputs, 3, 1 if resolution < 64 else 2, 1, bias=False), nn.BatchNorm2d(inputs), nn.ReLU6()]
    for channels, stride in BLOCKS:
        layers.append(Block(inputs, scaled(channels), stride))
        inputs = scaled(channels)
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(inputs, classes))
