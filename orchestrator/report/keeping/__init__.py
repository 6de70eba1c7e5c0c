"""What a store holds and costs as text for people."""
