"""A grid file sent to a cluster as a job of it: what travels, who may, and its log followed."""
