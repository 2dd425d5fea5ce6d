"""The data: input of users, ids and their codes, ratings sorted by user and by item."""
