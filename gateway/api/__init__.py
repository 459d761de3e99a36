"""The gateway's HTTPS face for partners and the console; `app.build_app` makes it (docs/partner-api.md)."""
