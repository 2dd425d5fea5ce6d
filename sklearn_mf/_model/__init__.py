"""What is learnt, and what it says: parameters, predictions, rankings."""
