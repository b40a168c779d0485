"""Layer 3: what each candidate is worth, and in which order."""
