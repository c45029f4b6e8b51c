"""For people: pages, pictures, tables, progress."""
