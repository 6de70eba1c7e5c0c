"""A llama-like checkpoint as one GGUF file, by the tables of the package gguf. No torch."""
