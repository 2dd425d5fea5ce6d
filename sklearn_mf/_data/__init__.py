"""The data: checked input, ids and their codes, ratings sorted by user and by item."""
