"""What a model family looks like: its layers, its config and its sizes."""
