"""Serving by 1, 4 and 16 clients: `mbdcnn serve` against ONNX Runtime behind FastAPI, written the obvious way.

Both send the mask as a PNG of the image's size and the probabilities; the clients run on the same machine.
"""

from __future__ import annotations

import argparse
import http.client
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from harness import write_image

from mbdcnn.artifacts import Bundle
from mbdcnn.artifacts.builtin import bundled_model
from mbdcnn.inference.export import export_bundle

PLAIN = """
import base64, io, sys
import numpy as np, onnxruntime, uvicorn
from fastapi import FastAPI, UploadFile
from PIL import Image

session = onnxruntime.InferenceSession(sys.argv[1])
side = int(sys.argv[2])
app = FastAPI()

@app.post("/v1/predictions")
def predict(image: UploadFile):
    photo = Image.open(image.file).convert("RGB")
    pixels = np.asarray(photo.resize((side, side), Image.Resampling.BICUBIC), np.float32).transpose(2, 0, 1)[None] / 255
    class_logits, mask_logits = session.run(["class_logits", "mask_logits"], {"image": pixels})
    probabilities = np.exp(class_logits[0] - class_logits.max())
    lesion = Image.fromarray(mask_logits[0, 1] - mask_logits[0, 0]).resize(photo.size, Image.Resampling.BICUBIC)
    png = io.BytesIO()
    Image.fromarray(np.asarray(lesion) > 0).save(png, "PNG")
    return {
        "probabilities": (probabilities / probabilities.sum()).tolist(),
        "mask": base64.b64encode(png.getvalue()).decode(),
    }

print("at http://127.0.0.1:8123", flush=True)
uvicorn.run(app, host="127.0.0.1", port=8123, log_level="warning")
"""
BOUNDARY = "boundary"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clients", type=int, nargs="+", default=[1, 4, 16])
    parser.add_argument("--seconds", type=float, default=10, help="of each measurement")
    parser.add_argument("--model", type=Path, default=bundled_model())
    options = parser.parse_args()
    bundle = Bundle.open(options.model)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        os.environ["MBDCNN_CACHE"] = str(folder / "cache")
        body = form(write_image(folder / "image.jpg").read_bytes())
        export_bundle(bundle, folder / "export", "onnx")
        plain = ["-c", PLAIN, str(folder / "export" / "model.onnx"), str(bundle.config.data.image_size)]
        servers = {
            "plain": (plain, ""),
            "mbdcnn serve": (["-m", "mbdcnn", "serve", "--port", "0", "--model", str(options.model)], "?layers=mask"),
        }
        heads = f"{'images/s':>9} {'median s':>9} {'p99 s':>7} {'CPU s each':>10} {'refused':>7} {'most MB':>8}"
        print(f"{'':<14} {'clients':>7} {heads}")
        for server, (command, query) in servers.items():
            for clients in options.clients:
                with running(command) as (port, process):
                    ask(port, body, query)
                    before = cpu_seconds(process)
                    times, refused, seconds = load(port, body, query, clients, options.seconds)
                    each = (cpu_seconds(process) - before) / len(times)
                    rate = f"{len(times) / seconds:>9.1f} {np.median(times):>9.3f} {np.quantile(times, 0.99):>7.3f}"
                    print(f"{server:<14} {clients:>7} {rate} {each:>10.3f} {refused:>7} {peak(process):>8}", flush=True)


def form(image: bytes) -> bytes:
    """Put an image into a form, as browsers send it."""
    head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="image"; filename="image.jpg"\r\n'
    return f"{head}Content-Type: image/jpeg\r\n\r\n".encode() + image + f"\r\n--{BOUNDARY}--\r\n".encode()


@contextmanager
def running(command: list[str]) -> Iterator[tuple[int, subprocess.Popen[str]]]:
    """Start a server and give its port; stop it at the end."""
    with subprocess.Popen([sys.executable, *command], stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout
            found = re.search(r"http://127\.0\.0\.1:(\d+)", process.stdout.readline())
            assert found
            wait_for(int(found[1]))
            yield int(found[1]), process
        finally:
            process.terminate()


def wait_for(port: int) -> None:
    """Return once somebody listens."""
    for _ in range(600):
        try:
            http.client.HTTPConnection("127.0.0.1", port).connect()
        except ConnectionRefusedError:
            time.sleep(0.1)
        else:
            return
    raise TimeoutError(f"nobody listens at port {port}")


def ask(port: int, body: bytes, query: str) -> bool:
    """Have one image predicted; whether it was."""
    connection = http.client.HTTPConnection("127.0.0.1", port)
    headers = {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"}
    connection.request("POST", f"/v1/predictions{query}", body, headers)
    answer = connection.getresponse()
    answer.read()
    connection.close()
    if answer.status not in {200, 503}:
        raise RuntimeError(f"the server answered {answer.status}")
    return answer.status == 200


def load(port: int, body: bytes, query: str, clients: int, seconds: float) -> tuple[list[float], int, float]:
    """Let clients ask again as soon as they are answered: times of answers, refusals and the seconds it took."""
    start = time.perf_counter()

    def client(_: int) -> tuple[list[float], int]:
        times, refused = [], 0
        while (begun := time.perf_counter()) < start + seconds:
            if ask(port, body, query):
                times.append(time.perf_counter() - begun)
            else:
                refused += 1
        return times, refused

    with ThreadPoolExecutor(clients) as threads:
        answers = list(threads.map(client, range(clients)))
    taken = time.perf_counter() - start
    return [each for times, _ in answers for each in times], sum(count for _, count in answers), taken


def cpu_seconds(process: subprocess.Popen[str]) -> float:
    """Give the processor's time that a process has taken so far."""
    fields = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def peak(process: subprocess.Popen[str]) -> int:
    """Give the most memory that a process has held, in MB."""
    status = Path(f"/proc/{process.pid}/status").read_text()
    return int(next(line for line in status.splitlines() if line.startswith("VmHWM")).split()[1]) // 1024


if __name__ == "__main__":
    main()
