"""The report: systems compared in a table, in figures, and on one HTML page."""
