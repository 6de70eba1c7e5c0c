"""How much is computed at once: tokens per forward pass, and logits raised to fp32.

These would be the largest tensors of a step. Without torch, for an estimate of memory counts with
the same numbers (docs/memory.md).
"""

# Tokens of a forward pass without gradients that keep a device busy: more at once save no time.
CPU_PASS_TOKENS = 512
GPU_PASS_TOKENS = 8192
# Of a step through frozen weights on a CPU: 768 in one pass take 6 to 9 % less than in three.
CPU_STEP_TOKENS = 1024


def rows_per_pass(tokens: int, pass_tokens: int) -> int:
    """Return how many rows of ``tokens`` a pass of ``pass_tokens`` takes; at least one."""
    return max(1, pass_tokens // max(1, tokens))


def logits_at_once(*, on_gpu: bool) -> int:
    """Return the logits per chunk of the loss of a training, ``trsp.losses.lm_loss``.

    They take 32 MiB in fp32; on a GPU, where each chunk costs the start of a dozen kernels, 128.
    """
    return 1 << 25 if on_gpu else 1 << 23


def scored_logits_at_once(*, on_gpu: bool) -> int:
    """Return the logits per chunk of an evaluation: 0.5 GiB in fp32 on a GPU.

    On a CPU they are 1 MiB, which stay in its cache: larger ones are fresh memory of the system's
    each time, and take three times as long.
    """
    return 1 << 27 if on_gpu else 1 << 18
