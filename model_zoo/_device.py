"""What the GPU driver offers, asked of the driver itself: the libraries only know how they were built."""

from __future__ import annotations

import ctypes
import sys
from functools import cache


@cache
def gpu_name() -> str | None:
    """Name of the first CUDA GPU, or None without a driver or a device. Asked once per process."""
    try:
        driver = ctypes.CDLL("nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1")
    except OSError:
        return None
    count, name = ctypes.c_int(0), ctypes.create_string_buffer(128)
    if driver.cuInit(0) != 0 or driver.cuDeviceGetCount(ctypes.byref(count)) != 0 or count.value == 0:
        return None
    return name.value.decode() if driver.cuDeviceGetName(name, len(name), 0) == 0 else "GPU 0"


def wants_gpu(device: str) -> bool:
    """Whether a context's `device` asks for a GPU and there is one."""
    return device != "cpu" and gpu_name() is not None
