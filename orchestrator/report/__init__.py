"""What people are told: plans, tables, progress and model cards."""
