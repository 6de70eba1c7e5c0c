"""MLflow's pages for people: where they are, and a server that shows them."""
