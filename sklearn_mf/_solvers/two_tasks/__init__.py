"""Interactions and ratings, learnt on the same factors."""
