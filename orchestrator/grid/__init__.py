"""What a grid file asks for: read, checked, and expanded to its cells."""
