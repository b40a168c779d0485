"""The brief: the decision, and the evidence that it rests on."""
