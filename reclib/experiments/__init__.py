"""Layer 7: what did the change cause? Plans, sufficient statistics, effects, checks, readouts and verdicts."""
