"""Why Triton refused a model, from its words."""

from __future__ import annotations

import pytest

from pointsman.api.conditions import ClassifierReadyReason
from pointsman.triton.causes import refused_because


@pytest.mark.parametrize(
    "words",
    [
        "RuntimeError: CUDA out of memory. Tried to allocate 2.00 GiB (GPU 0; 15.78 GiB total capacity)",
        "torch.cuda.OutOfMemoryError: CUDA out of memory.",
        "failed to allocate 4.00G from device: CUDA_ERROR_OUT_OF_MEMORY: out of memory",
        "load failed for model 'pm-x': version 1 is at UNAVAILABLE state: Internal: std::bad_alloc",
        "onnx runtime error 6: Failed to allocate memory for requested buffer of size 2830172160",
        "numpy.core._exceptions._ArrayMemoryError: Unable to allocate 14.6 GiB for an array",
        "OSError: [Errno 12] Cannot allocate memory",
        "MemoryError: ",
        "CUBLAS_STATUS_ALLOC_FAILED when calling cublasCreate(handle)",
        "Unable to initialize shared memory key 'x': No space left on device",
    ],
)
def test_want_of_memory_is_known_by_its_words(words: str) -> None:
    """However a library says it."""
    assert refused_because(words) == ClassifierReadyReason.OUT_OF_MEMORY


@pytest.mark.parametrize(
    "words",
    [
        "BundleError: weights/theta.npy: 3 rows instead of 4",
        "Stub process 'pm-x_0' is not healthy.",
        "failed to load all models",
    ],
)
def test_everything_else_is_the_bundles_own_fault(words: str) -> None:
    """What says nothing of memory is not told as such."""
    assert refused_because(words) == ClassifierReadyReason.BUNDLE_REJECTED
