"""A first grid file for somebody who has none: an example that ships, or one of one's own model."""
