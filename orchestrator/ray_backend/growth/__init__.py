"""What a cluster can become, by what its autoscaler knows, and how nodes are asked for."""
