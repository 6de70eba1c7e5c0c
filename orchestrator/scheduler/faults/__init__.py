"""What is at fault beside the stages: a store that gives no answer, a node on which they fail."""
