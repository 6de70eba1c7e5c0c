"""What makes several drivers act as one: files that only one can create, and who of them lives."""
