"""Pictures of a grid: from a view to a matplotlib figure, and from a figure to SVG or PNG. Pure."""
