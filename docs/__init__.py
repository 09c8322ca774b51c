"""The documentation: Markdown pages, their diagrams, and the programs that generate pages."""
