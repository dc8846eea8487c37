"""Run as `python -m mbdcnn`."""

from mbdcnn.cli import main

if __name__ == "__main__":
    main()
