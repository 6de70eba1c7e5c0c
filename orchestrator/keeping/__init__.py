"""What a store holds and costs, what of it nobody needs, and how that is removed."""
