"""``trsp doctor``: what is wrong with a user's own cluster, store and server, and the cure."""
