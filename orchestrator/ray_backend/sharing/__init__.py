"""A cluster that others use: how far our attempts have come there, and what is not ours."""
