"""What a network looks at: maps by name, what attention masks do, and whether a map can be believed."""
