"""Beside what a user would pick instead: DeepLabV3+ of segmentation_models_pytorch (MobileNetV2 encoder), and nnU-Net.

    python -m venv smp; smp/bin/pip install torch torchvision segmentation-models-pytorch onnx onnxruntime
    python -m venv nnunet; nnunet/bin/pip install torch nnunetv2 onnx onnxruntime
    python benchmarks/segmentation_models.py --smp smp/bin/python --nnunet nnunet/bin/python

Random weights, batches of 1 and 16 at 192 x 192. Another library runs in its own virtual environment; the compact
coarse-SN, likewise a DeepLabV3+ on a MobileNetV2, in the present one. nnU-Net's network is the plain U-Net that its
planner takes for such images in 2D, trained with its own loss and optimiser; it is much larger than the others. All run
in turns, and the least of each figure counts.
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
SMP = """
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
NNUNET = """
from dynamic_network_architectures.architectures.unet import PlainConvUNet
from nnunetv2.training.loss.compound_losses import DC_and_CE_loss
from nnunetv2.training.loss.deep_supervision import DeepSupervisionWrapper
from nnunetv2.training.loss.dice import MemoryEfficientSoftDiceLoss
from torch import nn

features = [32, 64, 128, 256, 512, 512]
network = PlainConvUNet(
    3, len(features), features, nn.Conv2d, 3, [1, *[2] * 5], 2, 2, 2, conv_bias=True, norm_op=nn.InstanceNorm2d,
    norm_op_kwargs={"eps": 1e-5, "affine": True}, nonlin=nn.LeakyReLU, nonlin_kwargs={"inplace": True},
    deep_supervision=False,
)
scales = 0.5 ** np.arange(5)
scales[-1] = 0
dice = {"batch_dice": True, "smooth": 1e-5, "do_bg": False, "ddp": False}
single = DC_and_CE_loss(dice, {}, weight_ce=1, weight_dice=1, dice_class=MemoryEfficientSoftDiceLoss)
loss = DeepSupervisionWrapper(single, (scales / scales.sum()).tolist())
optimizer = torch.optim.SGD(network.parameters(), 1e-2, weight_decay=3e-5, momentum=0.99, nesterov=True)

def take_step(images, masks):
    network.decoder.deep_supervision = True
    optimizer.zero_grad()
    outputs = network(images)
    loss(outputs, [nn.functional.interpolate(masks, each.shape[2:]) for each in outputs]).backward()
    torch.nn.utils.clip_grad_norm_(network.parameters(), 12)
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
    for name in ("smp", "nnunet"):
        parser.add_argument(f"--{name}", type=Path, help="Python of the environment that holds it")
    parser.add_argument("--repeats", type=int, default=2)
    options = parser.parse_args()
    programs = {"mbdcnn": (sys.executable, SHARED + OURS)}
    programs |= {"smp": (str(options.smp), SHARED + SMP)} if options.smp else {}
    programs |= {"nnunet": (str(options.nnunet), SHARED + NNUNET)} if options.nnunet else {}
    if len(programs) == 1:
        parser.error("give --smp, --nnunet or both")
    found: dict[str, list[dict[str, float]]] = {name: [] for name in programs}
    with tempfile.TemporaryDirectory() as folder:
        for _ in range(options.repeats):
            for name, (python, program) in programs.items():
                command = [python, "-W", "ignore", "-c", program, f"{folder}/{name}.onnx"]
                place = Path(__file__).parent
                done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, cwd=place)
                found[name].append(json.loads(done.stdout.splitlines()[-1]))
    print(f"{'':<24}" + "".join(f" {name:>9}" + (f" {'ratio':>6}" if name != "mbdcnn" else "") for name in programs))
    for row in found["mbdcnn"][0]:
        least = {name: min(each[row] for each in found[name]) for name in programs}
        ours = least.pop("mbdcnn")
        others = "".join(f" {theirs:>9.3f} {theirs / ours:>6.2f}" for theirs in least.values())
        print(f"{row:<24} {ours:>9.3f}{others}")


if __name__ == "__main__":
    main()
