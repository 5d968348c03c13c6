#!/usr/bin/env python3
"""Trains MobileNetV1 with PyTorch as `mobilenet train --augment article` does, to compare accuracy epoch by epoch.

The network, its initial distribution, the order's randomness and the augmentation are PyTorch's own words for what
models/mobilenet_v1.h and kernels/augment/augment.h say; the numbers drawn differ, so runs agree in distribution only.
Needs torch and numpy, nothing else (the network stands in network.py):

    benchmarks/peers/cifar10_pytorch.py FOLDER_OF_CIFAR10_BIN --epochs 10 --csv metrics.csv
"""
import argparse
import csv
import math
import pathlib
import time

import numpy as np
import torch
import torch.nn.functional as F

from network import mobilenet_v1

MEAN = torch.tensor([0.4914, 0.4822, 0.4465]).view(1, 3, 1, 1)
STD = torch.tensor([0.2470, 0.2435, 0.2616]).view(1, 3, 1, 1)
GREY = torch.tensor([0.299, 0.587, 0.114]).view(1, 3, 1, 1)  # ITU-R 601


def read(paths):
    """Records of one label byte and 3072 bytes of planes -> (N, 3, 32, 32) bytes, (N) labels."""
    records = np.concatenate([np.fromfile(path, np.uint8).reshape(-1, 3073) for path in paths])
    return torch.from_numpy(records[:, 1:].reshape(-1, 3, 32, 32)), torch.from_numpy(records[:, 0].astype(np.int64))


def article(x):
    """The article's augmentation of (N, 3, H, W) in [0, 1]: one affine warp an image, then its colours."""
    n = len(x)

    def uniform(low, high):
        return torch.rand(n) * (high - low) + low

    turn, shear = uniform(-10, 10) * math.pi / 180, uniform(-10, 10) * math.pi / 180
    scale, mirror = uniform(0.8, 1.2), torch.randint(0, 2, (n,)) * 2.0 - 1
    # torchvision's RandomAffine: output = R(turn) · Shear_x · scale; grid_sample wants its inverse.
    forward = torch.zeros(n, 2, 2)
    forward[:, 0, 0], forward[:, 0, 1] = torch.cos(turn), -torch.cos(turn) * torch.tan(shear) - torch.sin(turn)
    forward[:, 1, 0], forward[:, 1, 1] = torch.sin(turn), -torch.sin(turn) * torch.tan(shear) + torch.cos(turn)
    inverse = torch.inverse(forward * scale.view(n, 1, 1))
    inverse[:, 0, :] *= mirror.view(n, 1)
    theta = torch.cat([inverse, torch.zeros(n, 2, 1)], 2)
    y = F.grid_sample(x, F.affine_grid(theta, x.shape, align_corners=False), align_corners=False)
    bright, contrast, saturation = (uniform(0.8, 1.2).view(n, 1, 1, 1) for _ in range(3))
    y = (y * bright).clamp(0, 1)
    mean = (y * GREY).sum(1, keepdim=True).mean((2, 3), keepdim=True)
    y = (y * contrast + mean * (1 - contrast)).clamp(0, 1)
    grey = (y * GREY).sum(1, keepdim=True)
    return (y * saturation + grey * (1 - saturation)).clamp(0, 1)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--lr", type=float, default=1e-3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--csv", type=pathlib.Path, default="pytorch.csv")
    options = parser.parse_args()
    torch.manual_seed(options.seed)
    torch.set_num_threads(options.threads)
    train_x, train_y = read(sorted(options.folder.glob("data_batch_*.bin")))
    test_x, test_y = read([options.folder / "test_batch.bin"])
    model = mobilenet_v1().to(memory_format=torch.channels_last)
    optimizer = torch.optim.Adam(model.parameters(), options.lr)
    with open(options.csv, "w", newline="") as file:
        rows = csv.writer(file, lineterminator="\n")
        rows.writerow(["epoch", "train_loss", "train_accuracy", "val_loss", "accuracy", "images_per_second"])
        for epoch in range(1, options.epochs + 1):
            start, loss_sum, correct = time.time(), 0.0, 0
            model.train()
            order = torch.randperm(len(train_x))
            for chosen in order.split(options.batch):
                x = (article(train_x[chosen] / 255) - MEAN) / STD
                y = train_y[chosen]
                z = model(x.contiguous(memory_format=torch.channels_last))
                loss = F.cross_entropy(z, y)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                loss_sum += loss.item() * len(chosen)
                correct += (z.argmax(1) == y).sum().item()
            seconds = time.time() - start
            model.eval()
            with torch.no_grad():
                test_loss, test_correct = 0.0, 0
                for x, y in zip(test_x.split(250), test_y.split(250)):
                    z = model(((x / 255 - MEAN) / STD).contiguous(memory_format=torch.channels_last))
                    test_loss += F.cross_entropy(z, y, reduction="sum").item()
                    test_correct += (z.argmax(1) == y).sum().item()
            n = len(train_x)
            rows.writerow([epoch, f"{loss_sum / n:.6f}", f"{correct / n:.6f}", f"{test_loss / len(test_x):.6f}",
                           f"{test_correct / len(test_x):.6f}", f"{n / seconds:.1f}"])
            file.flush()


if __name__ == "__main__":
    main()
