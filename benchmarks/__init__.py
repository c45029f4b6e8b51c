"""What we measure; every script prints a Markdown table and names the machine."""
