"""Where stages have room on a cluster, beside those that run; it knows no stages."""
