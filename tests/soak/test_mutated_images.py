"""Thousands of damaged, odd and hostile images through every door, each door in a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

import doors
from bad_images import png

pytestmark = [pytest.mark.soak, pytest.mark.slow]

COUNT = int(os.environ.get("MBDCNN_SOAK_IMAGES", "2200"))
SEED = int(os.environ.get("MBDCNN_SOAK_SEED", "1"))
MEGABYTES = {"predict": 1500, "prepare": 1500, "serve": 1500}
"""Most memory of a door's process, torch included. A damaged header may well tell of a hundred million pixels."""


def driven(*arguments: object) -> dict[str, object]:
    command = [sys.executable, doors.__file__, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-4000:]
    answer: dict[str, object] = json.loads(done.stdout.splitlines()[-1])
    return answer


@pytest.mark.parametrize("door", MEGABYTES)
def test_every_image_ends_in_a_result_or_a_line(door: str, bundle, config_file: Path, tmp_path: Path) -> None:
    answer = driven(door, bundle.path, config_file, tmp_path / "work", SEED, COUNT)
    outcomes = [doors.Outcome(*each) for each in answer["outcomes"]]
    megabytes = answer["kilobytes"] / 1000
    slowest = max(outcomes, key=lambda outcome: outcome.seconds)
    results = Counter("result" if outcome.reason is None else "reason" for outcome in outcomes)
    print(f"{door}: {dict(results)}; at most {megabytes:.0f} MB; slowest {slowest.seconds:.1f} s ({slowest.kind})")
    assert len(outcomes) == COUNT
    assert min(results["result"], results["reason"]) > COUNT / 10
    assert megabytes < MEGABYTES[door]


@pytest.mark.parametrize(
    ("depth", "colours", "megabytes"), [(16, 0, 2600), (8, 6, 2600)], ids=["16 bit", "with transparency"]
)
def test_the_largest_image_that_is_let_in(depth: int, colours: int, megabytes: int, bundle, tmp_path: Path) -> None:
    """200 million pixels in a file of less than a megabyte: it takes a few times the memory of its pixels."""
    (tmp_path / "large.png").write_bytes(png(20_000, 10_000, depth, colours))
    answer = driven("decode", tmp_path / "large.png")
    print(f"{depth} bit, colour type {colours}: {answer['kilobytes'] / 1000:.0f} MB")
    assert answer["size"] == [20_000, 10_000]
    assert answer["kilobytes"] / 1000 < megabytes
