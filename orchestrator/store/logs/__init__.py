"""What stages have printed, attempt by attempt and rank by rank, kept beside their results."""
