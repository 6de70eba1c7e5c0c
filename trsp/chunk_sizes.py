"""How many logits are raised to fp32 at once: the largest tensors of a step, if it were all.

Without torch, for an estimate of memory counts with the same numbers (docs/memory.md).
"""

# Logits per chunk of the loss of a training, ``trsp.losses.lm_loss``: 32 MiB in fp32.
LOGITS_AT_ONCE = 1 << 23

# Tokens per chunk of an evaluation: with Gemma's vocabulary of 262144 entries 0.5 GiB of fp32
# logits instead of 2 GiB per window of 2048 tokens.
SCORED_TOKENS = 512
