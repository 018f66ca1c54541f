"""The paths of the API: each reads its request, calls the parts, and says what it answers."""
