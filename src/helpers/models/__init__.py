"""Models: load, train, ship, committees, what they are worth."""
