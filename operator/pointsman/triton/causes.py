"""Why Triton refused a model, from its words. Pure."""

from __future__ import annotations

import re
from typing import Final

from pointsman.api.conditions import ClassifierReadyReason

_MEMORY: Final = re.compile(
    r"out of memory|out_of_memory|bad_alloc|failed to alloc|unable to alloc|cannot alloc|memoryerror"
    r"|alloc_failed|insufficient memory|no space left on device",
    re.IGNORECASE,
)
"""CUDA, cuDNN, onnxruntime, PyTorch, C++, NumPy and Python; the last is a full /dev/shm."""


def out_of_memory(words: str) -> bool:
    """Tell whether an error is for want of memory, of the GPU or of the machine."""
    return _MEMORY.search(words) is not None


def refused_because(words: str) -> ClassifierReadyReason:
    """Return the reason of a model that Triton would not load."""
    reasons = ClassifierReadyReason
    return reasons.OUT_OF_MEMORY if out_of_memory(words) else reasons.BUNDLE_REJECTED
