from __future__ import annotations

import pytest
import torch

from mbdcnn.system import device
from mbdcnn.system.device import choose_precision
from mbdcnn.system.rates import MatrixRates

CPU, GPU = torch.device("cpu"), torch.device("cuda", 0)


@pytest.mark.parametrize(("bf16", "chosen"), [(2e11, "bf16"), (1.1e11, "fp32"), (0.0, "fp32")])
def test_auto_on_a_cpu_is_what_multiplies_faster(bf16: float, chosen: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device, "matrix_rates", lambda: MatrixRates(1e11, bf16))
    assert choose_precision("auto", CPU) == chosen


@pytest.mark.parametrize(("has_it", "chosen"), [(True, "bf16"), (False, "fp32")])
def test_auto_on_a_gpu_is_bf16_where_it_has_that(has_it: bool, chosen: str, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[bool] = []
    monkeypatch.setattr(
        torch.cuda, "is_bf16_supported", lambda including_emulation: asked.append(including_emulation) or has_it
    )
    assert choose_precision("auto", GPU) == chosen
    assert asked == [False]


@pytest.mark.parametrize("place", [CPU, GPU])
@pytest.mark.parametrize("name", ["fp32", "bf16", "fp16"])
def test_what_is_named_is_taken_unmeasured(name, place: torch.device, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device, "matrix_rates", None)
    assert choose_precision(name, place) == name
