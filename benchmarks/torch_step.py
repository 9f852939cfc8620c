"""Training images/s of ResNet-50 in PyTorch, for `training_speed.py --torch PYTHON`; needs nothing but PyTorch.

The same network, batch and optimizer as ours, the way PyTorch's documentation makes it fast on a CPU: channels last,
autocast for bfloat16, and the fused AdamW. It is no dependency of this project: `python -m venv torch && torch/bin/pip
install torch`.

PYTHON benchmarks/torch_step.py {float32,bfloat16} [--image-size 64] [--batch-size 64] [--steps 6] [--rounds 6]

A turn of so many steps begins with each line that it reads.
"""

import argparse
import sys
import time
from typing import Any

import torch  # type: ignore[import-not-found, unused-ignore]
from torch import nn  # type: ignore[import-not-found, unused-ignore]

STACKS = ((64, 3, 1), (128, 4, 2), (256, 6, 2), (512, 3, 2))


class Block(nn.Module):  # type: ignore[misc, unused-ignore]
    """A bottleneck block: the branch starts at zero, as ours does."""

    def __init__(self, inner: int, filters: int, stride: int, project: bool) -> None:
        super().__init__()
        self.branch = nn.Sequential(
            *make_convolution(inner, filters, 1, stride),
            nn.ReLU(inplace=True),
            *make_convolution(filters, filters, 3, 1),
            nn.ReLU(inplace=True),
            *make_convolution(filters, 4 * filters, 1, 1),
        )
        self.shortcut = nn.Sequential(*make_convolution(inner, 4 * filters, 1, stride)) if project else nn.Identity()
        nn.init.zeros_(self.branch[-1].weight)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Add the branch to the shortcut."""
        return torch.relu(self.shortcut(features) + self.branch(features))


def make_convolution(inner: int, outer: int, size: int, stride: int) -> list[nn.Module]:
    return [nn.Conv2d(inner, outer, size, stride, size // 2, bias=False), nn.BatchNorm2d(outer, eps=1.001e-5)]


def build_network(labels: int) -> nn.Module:
    layers: list[nn.Module] = [*make_convolution(3, 64, 7, 2), nn.ReLU(inplace=True), nn.MaxPool2d(3, 2, 1)]
    inner = 64
    for filters, blocks, stride in STACKS:
        for block in range(blocks):
            layers.append(Block(inner, filters, stride if block == 0 else 1, block == 0))
            inner = 4 * filters
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(0.2), nn.Linear(inner, labels))


def measure(precision: str, image_size: int, batch_size: int, steps: int, rounds: int) -> None:
    torch.manual_seed(0)
    network: Any = build_network(24).to(memory_format=torch.channels_last).train()
    optimizer = torch.optim.AdamW(network.parameters(), 1e-3, weight_decay=0.05, fused=True)
    photos = torch.randint(0, 256, (batch_size, 3, image_size, image_size), dtype=torch.uint8)
    labels = torch.arange(batch_size) % 24

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        scaled = (photos.float() / 127.5 - 1).contiguous(memory_format=torch.channels_last)
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bfloat16"):
            logits = network(scaled)
        nn.functional.cross_entropy(logits.float(), labels).backward()
        optimizer.step()

    for _ in range(rounds + 1):
        sys.stdin.readline()
        started = time.perf_counter()
        for _ in range(steps):
            step()
        print("=", steps * batch_size / (time.perf_counter() - started), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("precision", choices=("float32", "bfloat16"))
    parser.add_argument("--image-size", type=int, default=64)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--steps", type=int, default=6)
    parser.add_argument("--rounds", type=int, default=6)
    args = parser.parse_args()
    measure(args.precision, args.image_size, args.batch_size, args.steps, args.rounds)


if __name__ == "__main__":
    main()
