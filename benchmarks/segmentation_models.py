"""Beside what a user would pick instead: segmentation_models_pytorch's DeepLabV3+ with a MobileNetV2 encoder.

    python -m venv smp; smp/bin/pip install torch torchvision segmentation-models-pytorch onnx onnxruntime
    python benchmarks/segmentation_models.py --python smp/bin/python

Random weights, batches of 1 and 16 at 192 x 192. The other library runs in that virtual environment; the compact
coarse-SN, likewise a DeepLabV3+ on a MobileNetV2, in the present one. Both run in turns, and the least of each figure
counts.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

SHARED = """
import io, json, resource, sys, time
begun = time.perf_counter()
import numpy as np, torch

def shortest(work, repeats=5):
    work()
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return min(times)

def evaluated(network, images):
    with torch.inference_mode():
        network(images)

def exported(network, file):
    import onnxruntime
    torch.onnx.export(network, (torch.rand(1, 3, 192, 192),), file, dynamo=False)
    session = onnxruntime.InferenceSession(file)
    image = {session.get_inputs()[0].name: np.zeros((1, 3, 192, 192), np.float32)}
    return shortest(lambda: session.run(None, image), 20)

def figures(network, take_step, file):
    image, images = torch.rand(1, 3, 192, 192), torch.rand(16, 3, 192, 192)
    masks = (torch.rand(16, 1, 192, 192) > 0.5).float()
    network.eval()
    evaluated(network, image)
    cold = time.perf_counter() - begun
    one = shortest(lambda: evaluated(network, image), 20)
    many = shortest(lambda: evaluated(network, images)) / 16
    onnx = exported(network, file)
    network.train()
    step = shortest(lambda: take_step(images, masks))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    found = {"cold start, s": cold, "one image, s": one, "each of 16, s": many, "one, ONNX Runtime, s": onnx}
    print(json.dumps(found | {"training step of 16, s": step, "most memory, MB": peak}))
"""
THEIRS = """
import segmentation_models_pytorch as smp
network = smp.DeepLabV3Plus("mobilenet_v2", encoder_weights=None, classes=1)
loss = smp.losses.DiceLoss("binary")
optimizer = torch.optim.Adam(network.parameters(), lr=1e-4)

def take_step(images, masks):
    optimizer.zero_grad()
    loss(network(images), masks).backward()
    optimizer.step()

figures(network, take_step, sys.argv[1])
"""
OURS = """
from mbdcnn.config import load_config
from mbdcnn.models import build_coarse
from mbdcnn.inference.runtimes import optimise_for_inference
config = load_config("compact")
network = optimise_for_inference(build_coarse(config), torch.device("cpu"))
trained = build_coarse(config).train()

def take_step(images, masks):
    global own
    if own is None:
        from mbdcnn.system.memory import keep_freed_memory
        from training import own_step
        keep_freed_memory()
        own = own_step(trained, config.coarse)
    own(images.contiguous(memory_format=torch.channels_last), masks)

own = None
figures(network, take_step, sys.argv[1])
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--python", type=Path, required=True, help="of the environment that holds the other library")
    parser.add_argument("--repeats", type=int, default=2)
    options = parser.parse_args()
    programs = {"smp": (str(options.python), SHARED + THEIRS), "mbdcnn": (sys.executable, SHARED + OURS)}
    found: dict[str, list[dict[str, float]]] = {name: [] for name in programs}
    with tempfile.TemporaryDirectory() as folder:
        for _ in range(options.repeats):
            for name, (python, program) in programs.items():
                command = [python, "-W", "ignore", "-c", program, f"{folder}/{name}.onnx"]
                place = Path(__file__).parent
                done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, cwd=place)
                found[name].append(json.loads(done.stdout.splitlines()[-1]))
    print(f"{'':<24} {'smp':>9} {'mbdcnn':>9} {'ratio':>6}")
    for row in found["smp"][0]:
        theirs, ours = (min(each[row] for each in found[name]) for name in programs)
        print(f"{row:<24} {theirs:>9.3f} {ours:>9.3f} {theirs / ours:>6.2f}")


if __name__ == "__main__":
    main()
