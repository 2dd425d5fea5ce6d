"""What is minimised: losses with their links, and penalties."""
