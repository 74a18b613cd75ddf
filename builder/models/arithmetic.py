"""How networks compute: dtype, TensorFloat-32, determinism. A recipe chooses by one word, and every unit records it.

torch leaves TensorFloat-32 on for convolutions: a float32 network would then compute at float16's precision, without a
word. Here `float32` is float32, and `tf32` is asked for.
"""

import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from noisezoo.errors import UsageError

if TYPE_CHECKING:
    import torch

DTYPES: Mapping[str, str] = {"float32": "float32", "tf32": "float32", "float16": "float16", "bfloat16": "bfloat16"}
"""Name of an arithmetic -> torch's dtype of weights and activations."""

TENSOR_CORES = {"tf32": (8, 0), "bfloat16": (8, 0)}
"""Arithmetic -> the least compute capability of an NVIDIA GPU that has it (CUDA C++ Programming Guide)."""

COMPILERS = ("CXX", "g++", "clang++", "c++")
"""Where torch.compile looks for a C++ compiler: a variable, then programs."""

ATTENTION = {
    "flash": "FLASH_ATTENTION", "cudnn": "CUDNN_ATTENTION", "efficient": "EFFICIENT_ATTENTION", "math": "MATH",
}  # fmt: skip
"""Kernel of scaled dot-product attention -> torch's name of it."""


@contextmanager
def attention(kernel: str | None) -> Iterator[None]:
    """Compute attention by a kernel of `ATTENTION`; None: by torch's choice.

    Raises UsageError where the kernel does not serve this network, in its dtype, on this device.
    """
    from torch.nn.attention import SDPBackend, sdpa_kernel

    if kernel is None:
        yield
        return
    try:
        with sdpa_kernel(getattr(SDPBackend, ATTENTION[kernel])):
            yield
    except RuntimeError as error:
        if not any(said in str(error) for said in ("No available kernel", "No viable backend")):
            raise
        raise UsageError(f"attention_backend {kernel!r} does not serve this network here: leave it out") from error


def network_dtype(name: str) -> "torch.dtype":
    """Torch's dtype of an arithmetic; raises UsageError where there is no such arithmetic."""
    import torch

    if name not in DTYPES:
        raise UsageError(f"unknown dtype {name!r}; choose one of: {', '.join(DTYPES)}")
    dtype: torch.dtype = getattr(torch, DTYPES[name])
    return dtype


def network_device(device: "str | torch.device | None") -> "torch.device":
    """A device by name, or the first GPU where there is one; raises UsageError where there is no such device here."""
    import torch

    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    try:
        found = torch.device(device or ("cuda" if count else "cpu"))
    except RuntimeError as error:
        raise UsageError(f"unknown device {device!r}; choose cpu, or cuda (cuda:0, cuda:1, ...) for a GPU") from error
    if found.type == "cuda" and (found.index or 0) >= count:
        raise UsageError(
            f"device {str(device)!r}: torch finds {count} GPUs here; choose cpu, or install torch for CUDA"
        )
    try:
        torch.empty(0, device=found)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise UsageError(f"device {str(device)!r} is not on this machine; choose cpu or cuda") from error
    return found


def can_compile() -> bool:
    """Whether there is the compiler that torch.compile needs, and a torch whose compiled code may be deterministic."""
    from torch._inductor import config as inductor

    return hasattr(inductor, "deterministic") and any(shutil.which(os.environ.get(name, name)) for name in COMPILERS)


def has_arithmetic(dtype: str, device: "torch.device") -> bool:
    """Whether an NVIDIA GPU has an arithmetic in hardware; what is not known of a device is taken for there."""
    import torch

    if device.type != "cuda" or torch.version.hip is not None or dtype not in TENSOR_CORES:
        return True
    return torch.cuda.get_device_capability(device) >= TENSOR_CORES[dtype]


def check_arithmetic(dtype: str, device: "torch.device", *, compiled: bool = False) -> None:
    """Raise UsageError where a device lacks the arithmetic, or is to be compiled for where `can_compile` says no."""
    import torch

    if compiled and not can_compile():
        raise UsageError(
            f"compile needs a C++ compiler, of {', '.join(COMPILERS)}, and a torch that compiles to the same bits "
            "(newer than 2.7): install g++ or a newer torch, or --set compile=false"
        )
    if device.type != "cuda":
        if dtype == "tf32":
            raise UsageError(f"tf32 is arithmetic of NVIDIA GPUs, and this is {device.type}: use --set dtype=float32")
        return
    if not has_arithmetic(dtype, device):
        needed, found = TENSOR_CORES[dtype], torch.cuda.get_device_capability(device)
        raise UsageError(
            f"{dtype} needs an NVIDIA GPU of compute capability {'.'.join(map(str, needed))} or newer, and "
            f"{torch.cuda.get_device_name(device)} has {'.'.join(map(str, found))}: use --set dtype=float16 or float32"
        )


def set_arithmetic(dtype: str, *, compiled: bool = False) -> dict[str, Any]:
    """Set torch's switches for this process, so that equal inputs in batches of one size give equal bits on one card.

    With a network in half precision, what stays float32 (the autoencoder) computes in TensorFloat-32: on an H200 it
    encodes 113 images a second so, 27 without, and errs by 1.1e-3, less than the network (float16: 1.8e-3).

    Returns:
        What was set, to be recorded with what is computed.
    """
    import torch

    tf32 = dtype != "float32"
    torch.backends.cudnn.benchmark = False
    torch.backends.cudnn.deterministic = True
    torch.backends.cudnn.allow_tf32 = tf32
    torch.backends.cuda.matmul.allow_tf32 = tf32
    if compiled:
        from torch._inductor import config as inductor

        inductor.deterministic = True
        if hasattr(inductor, "batch_invariant"):  # torch 2.11 has no such switch; a build's batches are of one size
            inductor.batch_invariant = True
    return {"dtype": dtype, "tf32": tf32, "cudnn_deterministic": True, "inductor_deterministic": compiled}
