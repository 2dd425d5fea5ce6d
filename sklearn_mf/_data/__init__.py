"""What is known: user input, ids and their codes, ratings sorted both ways."""
