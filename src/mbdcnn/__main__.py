"""Run as `python -m mbdcnn`."""

from mbdcnn.cli import main

main()
