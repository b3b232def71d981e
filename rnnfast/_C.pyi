"""The compiled operators. Importing it registers them with torch; it has no content of its own."""
