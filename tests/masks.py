"""A mask as an array."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from mbdcnn.data.images.decoding import read_mask
from mbdcnn.data.images.limits import Source


def decode_mask(source: Source) -> npt.NDArray[np.bool_]:
    """Read a mask: height x width, true on the lesion."""
    return np.asarray(read_mask(source).image)
