"""Pages, pictures, tables and progress bars."""
