"""Commands that show what a store holds, and start nothing."""
