"""Layer 2: what could be shown to whom. One small class a source, one table for all of them."""
