"""The version, alone: what names it imports nothing else."""

__version__ = "0.1.0"
