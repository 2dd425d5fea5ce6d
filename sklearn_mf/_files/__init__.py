"""Models as files, without knowledge of any model."""
