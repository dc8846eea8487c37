"""Make a model out of runs: put together, calibrated, described."""
