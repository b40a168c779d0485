"""Layer 7: what would another policy have earned? Off-policy values from a log that knows its probabilities."""
