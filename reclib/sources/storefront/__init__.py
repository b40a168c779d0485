"""The embedded shop: a synthetic world whose truth is known."""
