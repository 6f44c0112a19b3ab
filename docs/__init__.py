"""The documentation: its pages, and what runs them, draws their pictures and builds the site."""
