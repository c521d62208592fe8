"""The browser's pages: HTML from the view structs of the model, and the assets they load. No HTTP in here."""
