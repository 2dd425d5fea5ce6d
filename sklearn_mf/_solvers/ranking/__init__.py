"""Losses that rank: what a user interacted with, before what the user did not."""
