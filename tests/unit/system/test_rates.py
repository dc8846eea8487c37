from __future__ import annotations

import time
from pathlib import Path

import pytest
import torch

from mbdcnn.system import rates
from mbdcnn.system.rates import MatrixRates, matrix_rates, measure_rates, remembered_rates


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MBDCNN_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> list[MatrixRates]:
    """Have 100 and 200 measured; gives what was."""
    found: list[MatrixRates] = []

    def measure() -> MatrixRates:
        found.append(MatrixRates(100.0, 200.0))
        return found[-1]

    monkeypatch.setattr(rates, "measure_rates", measure)
    return found


@pytest.mark.parametrize(("bf16", "pays"), [(149.0, False), (150.0, True), (1000.0, True), (20.0, False)])
def test_bf16_pays_from_one_and_a_half_times_the_rate(bf16: float, pays: bool) -> None:
    assert MatrixRates(100.0, bf16).bf16_pays is pays


@pytest.mark.parametrize(("bf16", "units"), [(249.0, False), (250.0, True), (200.0, False)])
def test_more_than_twice_the_rate_takes_matrix_units(bf16: float, units: bool) -> None:
    assert MatrixRates(100.0, bf16).matrix_units is units


def test_what_was_not_measured_is_not_known(cache: Path, measured: list[MatrixRates]) -> None:
    assert remembered_rates() is None
    assert remembered_rates() is None
    assert matrix_rates() == remembered_rates()
    assert len(measured) == 1


def test_the_machine_is_measured_once(cache: Path, measured: list[MatrixRates]) -> None:
    assert matrix_rates() == matrix_rates() == MatrixRates(100.0, 200.0)
    assert len(measured) == 1
    assert [file.suffix for file in (cache / "rates").iterdir()] == [".json"]


def test_another_processor_or_torch_is_measured_anew(cache: Path, measured: list[MatrixRates], monkeypatch) -> None:
    matrix_rates()
    with monkeypatch.context() as patch:
        patch.setattr("platform.machine", lambda: "riscv64")
        matrix_rates()
    monkeypatch.setattr("importlib.metadata.version", lambda name: {"torch": "9.9"}[name])
    matrix_rates()
    assert len(measured) == len([*(cache / "rates").iterdir()]) == 3


@pytest.mark.parametrize("damage", ["", "[]", "{}", '{"fp32": 1}', "\x00"])
def test_what_is_damaged_is_measured_anew(cache: Path, measured: list[MatrixRates], damage: str) -> None:
    matrix_rates()
    (file,) = (cache / "rates").iterdir()
    whole = file.read_text()
    file.write_text(damage)
    assert matrix_rates() == MatrixRates(100.0, 200.0)
    assert file.read_text() == whole


def test_a_cache_that_cannot_be_written_is_no_error(cache: Path, measured: list[MatrixRates]) -> None:
    cache.write_text("a file")
    assert matrix_rates() == matrix_rates() == MatrixRates(100.0, 200.0)
    assert len(measured) == 2


def test_rates_are_of_one_core_and_of_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    threads, start = torch.get_num_threads(), time.thread_time()
    found = measure_rates()
    assert torch.get_num_threads() == threads
    assert time.thread_time() - start < 5
    # From an emulation to a core with matrix units.
    assert all(1e8 < rate < 1e13 for rate in found)


def test_the_best_of_several_turns_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    # Start, then the beginning and end of each work; twenty operations in 10 s, in 5 s and again in 10 s.
    moments = iter([0.0, 0.0, 10.0, 10.0, 10.0, 15.0, 15.0, 15.0, 25.0, 25.0])
    monkeypatch.setattr(time, "thread_time", lambda: next(moments))
    monkeypatch.setattr(rates, "ROUNDS", 3)
    monkeypatch.setattr(rates, "SECONDS", 100)
    assert rates._best([[(20.0, lambda: None)]]) == [4.0]
