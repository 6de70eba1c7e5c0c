"""A stage in a process of its own: how that is called, and what is known where it is lost."""
