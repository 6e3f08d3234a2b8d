"""What llama.cpp does not count: one table, each number with where it comes from.

None of them was measured by us on a GPU yet; ``scripts/gpu-check`` is to do that.
"""

MIB = 1 << 20
FLOAT_BYTES = 4
AMPERE = (8, 0)  # compute capability

# The driver's context, kernels, cuBLAS's workspace, of each GPU. 506 MiB missing on idle 2 x 5090
# (llama.cpp #20582); 500 MiB in gpustack's footprint, 0.6 GiB in kaito's.
CUDA_CONTEXT_BYTES = 600 * MIB

# Kept free of each GPU: pools grow while it runs. A server with a margin of 128 MiB ran out after
# 76 hours (llama.cpp #28338); llama.cpp's own --fit keeps 1024 MiB, context included.
HEADROOM_BYTES = 512 * MIB
HEADROOM_FRACTION = 0.03

# Host memory of our processes and their libraries, without the model's: 113 MB of their own with
# SmolLM2 on a CPU (measured 2026-11-26, small buffers included); CUDA's host side comes on top.
PROCESS_BYTES = 512 * MIB

# What a server's memory gives one socket at least: four channels of DDR4-2666, half of the
# nominal rate. For layers and experts on the CPU.
HOST_BYTES_PER_SECOND = 40e9

# Of each GPU what vLLM takes, whatever the model needs: its --gpu-memory-utilization.
VLLM_MEMORY_SHARE = 0.9
# Bytes of the weights to bytes that let it work: a fifth for cache and activations. A rule of
# thumb that many give, and nobody's measurement; more requests at once want more.
VLLM_WEIGHTS_FACTOR = 1.2


def headroom_bytes(memory_bytes: int) -> int:
    return max(HEADROOM_BYTES, int(memory_bytes * HEADROOM_FRACTION))
