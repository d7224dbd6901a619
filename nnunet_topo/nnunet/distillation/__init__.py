"""Training in rounds: each round learns from the probabilities that the one before predicts."""
