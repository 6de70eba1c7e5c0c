"""How a stage is laid out over processes and devices, by an estimate of its memory."""
