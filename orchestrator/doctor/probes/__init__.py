"""What is looked at, on the driver and on nodes: each probe measures, and judges nothing."""
