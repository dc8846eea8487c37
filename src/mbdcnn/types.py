"""Names for tensor shapes. `b` images, `h` x `w` pixels, `k` classes."""

from __future__ import annotations

from typing import TypeAlias

from jaxtyping import Float
from torch import Tensor

Images: TypeAlias = Float[Tensor, "b 3 h w"]
"""RGB in [0, 1]."""
Masks: TypeAlias = Float[Tensor, "b 1 h w"]
"""0 background, 1 lesion."""
MaskLogits: TypeAlias = Float[Tensor, "b 2 h w"]
"""Channel 0 background, channel 1 lesion, before the softmax."""
ClassLogits: TypeAlias = Float[Tensor, "b k"]
"""One column a class, before the softmax."""
Features: TypeAlias = Float[Tensor, "b c fh fw"]
"""A feature map at stride 4 or 16."""
ActivationMaps: TypeAlias = Float[Tensor, "b 1 fh fw"]
"""Class activation maps at stride 16."""
