"""Pictures: their style, and a module for the pictures of each notebook."""
