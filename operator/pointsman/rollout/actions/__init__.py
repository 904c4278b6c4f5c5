"""What a tick does to the world, one verb a file. Each may be cut off anywhere and done again."""
