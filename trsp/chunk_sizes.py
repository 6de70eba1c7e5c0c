"""How many logits are raised to fp32 at once. Without torch, for an estimate of memory counts with the same numbers."""

LOGITS_AT_ONCE = 1 << 23  # by the loss of a training: 32 MiB
SCORED_TOKENS = (
    512  # by an evaluation: with Gemma's 262144 entries 0.5 GiB instead of 2 GiB a window
)
