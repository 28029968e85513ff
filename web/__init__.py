"""The page that judges faces in a browser: what Python makes for it; the page itself is under src/ and static/."""
