"""Stage one: selectors, each of which gives an order of layers. ``rank_layers`` is the way in."""

from trsp.selection.ranking import rank_layers, rank_unseen

__all__ = ["rank_layers", "rank_unseen"]
