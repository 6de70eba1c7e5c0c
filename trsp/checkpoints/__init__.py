"""Models to and from disk or hub, as safetensors only."""
