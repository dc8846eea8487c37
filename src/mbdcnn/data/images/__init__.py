"""One safe decoder for every image."""

from mbdcnn.data.images.decoding import decode

__all__ = ["decode"]
