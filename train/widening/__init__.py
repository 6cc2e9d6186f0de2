"""Widening of any traceable network: which channels belong together, and the graph that carries more of them."""
