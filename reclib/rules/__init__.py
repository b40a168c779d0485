"""Layer 4: rules as data, decided for all customers at once, priced, and traced down to the single pair."""
